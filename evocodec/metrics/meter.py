"""The quality meter: measures a decoded sequence frame by frame, in constant memory."""

import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from types import TracebackType

from evocodec.domain.results import FrameSeries, Quality
from evocodec.domain.video import Frame
from evocodec.metrics.kernels.choose import choose_kernels
from evocodec.metrics.kernels.protocol import Kernels
from evocodec.metrics.ms_ssim import MS_SSIM_MIN_SIDE, loaded_ms_ssim
from evocodec.metrics.psnr import check_same_planes, mean_psnr, psnr_of_error, wrong_count
from evocodec.metrics.vmaf import VMAF_CEILING, VMAF_MIN_SIDE, VmafProcess


class QualityMeter:
    """All quality metrics of one sequence; memory grows only by the per-frame series.

    A context manager, because VMAF runs a process. One thread feeds it. Peak values come from
    ``bit_depth`` and sizes from the planes, so 10-bit samples or full-size chroma need nothing here
    but frames that carry them. ``kernels`` are chosen by the size of the first frame unless given.

    PSNR is the mean over frames of each frame's PSNR (JVET common test conditions), each limited as
    ``mean_psnr`` says; 6:1:1 weighs (6·Y + U + V) / 8. MS-SSIM and VMAF are absent where the
    picture is too small for them.
    """

    def __init__(
        self,
        *,
        vmaf: bool = False,
        vmaf_threads: int = 1,
        bit_depth: int = 8,
        kernels: Kernels | None = None,
    ) -> None:
        self._vmaf_wanted = vmaf
        self._vmaf_threads = vmaf_threads
        self._bit_depth = bit_depth
        self._kernels = kernels
        self._psnr: tuple[list[float], list[float], list[float]] = ([], [], [])
        self._ms_ssim: list[float] = []
        self._vmaf: VmafProcess | None = None

    def __enter__(self) -> "QualityMeter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def count(self) -> int:
        """Number of frames measured so far."""
        return len(self._psnr[0])

    def add(self, reference: Frame, decoded: Frame) -> None:
        """Measure the next frame.

        Raises ``CandidateFailure`` when a shape or dtype differs, since pictures of different
        formats must not be compared; ``InfrastructureFailure`` when VMAF is wanted and cannot be
        computed.
        """
        check_same_planes(self.count, reference, decoded)
        size = reference.y.shape
        if self._kernels is None:
            self._kernels = choose_kernels(size)
        if self._vmaf_wanted and self._vmaf is None and min(size) >= VMAF_MIN_SIDE:
            self._vmaf = VmafProcess(
                (size[0], size[1]), bit_depth=self._bit_depth, threads=self._vmaf_threads
            )
        if self._vmaf is not None:  # first: libvmaf works while we do
            self._vmaf.add(reference.y, decoded.y)
        self._measure(self._kernels, reference, decoded)

    def finish(self) -> tuple[Quality, FrameSeries]:
        """Return the means and the series; raises ``CandidateFailure`` when there was no frame."""
        if not self.count:
            raise wrong_count(0, 0)
        scores: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
        if self._vmaf is not None:
            scores = self._vmaf.finish()
        self.close()
        psnr_y, psnr_u, psnr_v = self._psnr
        series = FrameSeries(
            psnr_y_db=tuple(psnr_y),
            psnr_u_db=tuple(psnr_u),
            psnr_v_db=tuple(psnr_v),
            ms_ssim=tuple(self._ms_ssim),
            vmaf=scores[0],
            vmaf_neg=scores[1],
        )
        return quality_of_series(series), series

    def close(self) -> None:
        """End running processes; may be called twice."""
        if self._vmaf is not None:
            self._vmaf.close()
            self._vmaf = None

    def _measure(self, kernels: Kernels, reference: Frame, decoded: Frame) -> None:
        loaded = [
            (kernels.load(reference_plane), kernels.load(decoded_plane))
            for reference_plane, decoded_plane in zip(reference, decoded, strict=True)
        ]
        for series, plane, (reference_plane, decoded_plane) in zip(
            self._psnr, reference, loaded, strict=True
        ):
            error = kernels.squared_error(reference_plane, decoded_plane)
            series.append(psnr_of_error(error, plane.size, self._bit_depth))
        if min(reference.y.shape) >= MS_SSIM_MIN_SIDE:
            similarity = loaded_ms_ssim(*loaded[0], bit_depth=self._bit_depth, kernels=kernels)
            self._ms_ssim.append(similarity)


def measure(
    reference: Iterable[Frame], decoded: Iterable[Frame], *, vmaf: bool = False
) -> tuple[Quality, FrameSeries]:
    """Return quality and series of a whole sequence; both inputs are read once, in parallel.

    Raises ``CandidateFailure`` when count, shapes or dtype differ.
    """
    with QualityMeter(vmaf=vmaf) as meter:
        expected, found = 0, 0
        for mine, other in zip_longest(reference, decoded):
            expected += mine is not None
            found += other is not None
            if mine is not None and other is not None:
                meter.add(mine, other)
        if expected != found or not expected:
            raise wrong_count(expected, found)
        return meter.finish()


def measure_quality(
    reference: Iterable[Frame], decoded: Iterable[Frame], *, vmaf: bool = False
) -> Quality:
    """``measure`` without the series."""
    return measure(reference, decoded, vmaf=vmaf)[0]


def quality_of_series(series: FrameSeries) -> Quality:
    """Means of a series; a metric that was not computed is None."""
    (mean_y, limited), (mean_u, _), (mean_v, _) = (
        mean_psnr(each) for each in (series.psnr_y_db, series.psnr_u_db, series.psnr_v_db)
    )
    worst = min(series.psnr_y_db)
    return Quality(
        psnr_y_db=mean_y,
        psnr_u_db=mean_u,
        psnr_v_db=mean_v,
        psnr_611_db=(6 * mean_y + mean_u + mean_v) / 8,
        ms_ssim=_mean(series.ms_ssim) if series.ms_ssim else None,
        worst_frame_psnr_y_db=worst,
        worst_frame=series.psnr_y_db.index(worst),
        vmaf=_mean(series.vmaf) if series.vmaf else None,
        vmaf_neg=_mean(series.vmaf_neg) if series.vmaf_neg else None,
        limited_frames=limited,
        vmaf_full_frames=_full(series.vmaf),
        vmaf_neg_full_frames=_full(series.vmaf_neg),
    )


def _full(scores: Sequence[float]) -> int:
    return sum(score >= VMAF_CEILING for score in scores)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
