"""The anchor table: every anchor on every clip, compared with the primary one."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evocodec.anchors.encoders import AnchorEncoder, chosen_encoders
from evocodec.anchors.measure import Listener, covering_curve, is_cached, operating_bits
from evocodec.anchors.rate_ladder import FIRST_POINTS
from evocodec.anchors.user_encodes import BASELINE, bits_ratio
from evocodec.app.clips import AnchoredClip, anchored_clips, baseline_curves, require_clips
from evocodec.app.outputs import AnchorCost, AnchorReport
from evocodec.config import Settings
from evocodec.curves.bd_rate import MIN_POINTS
from evocodec.curves.compare import compare_curves
from evocodec.curves.rd_curve import bits_at_quality, quality_range_db
from evocodec.domain.errors import CandidateFailure, InfrastructureFailure
from evocodec.domain.results import Comparison, Metric, RdCurve, Track
from evocodec.metrics.psnr import PSNR_CAP_DB

_MOST_JOBS = 8


@dataclass(frozen=True, slots=True)
class AnchorsRequest:
    """Options of ``anchors`` that are no settings.

    ``jobs`` encoders run at a time; 0 means one for each processor, 8 at most. ``repeat``
    measures again what is cached, so that costs are of the same hour.
    """

    metrics: tuple[Metric, ...] = (Metric.PSNR_Y,)
    baseline_files: tuple[str, ...] = ()
    jobs: int = 0
    repeat: bool = False

    @property
    def vmaf(self) -> bool:
        """Whether any wanted metric needs libvmaf."""
        return not {Metric.VMAF, Metric.VMAF_NEG}.isdisjoint(self.metrics)


@dataclass(frozen=True, slots=True)
class PlannedAnchor:
    """A curve that will be measured, and about how many CPU seconds its encodes take."""

    clip: str
    encoder: AnchorEncoder
    cpu_seconds: float


def measure_anchors(
    settings: Settings,
    cache: Path,
    request: AnchorsRequest,
    *,
    on_plan: Callable[[Sequence[PlannedAnchor], int], None] | None = None,
    on_event: Listener | None = None,
) -> tuple[AnchorReport, ...]:
    """Measure the anchors that the settings choose, clip by clip; the primary one leads each.

    ``on_plan`` is called once the primary anchor is known: with what is left to measure, and the
    number of jobs at a time.

    Raises:
        UserError: a clip or a baseline file that cannot be used, or an unknown anchor.
    """
    evaluation = settings.evaluation
    primary, *others = chosen_encoders(evaluation.anchors, Track(evaluation.track))
    require_clips(settings)
    jobs = request.jobs or min(_MOST_JOBS, len(os.sched_getaffinity(0)))
    anchored = anchored_clips(
        settings,
        cache,
        encoder=primary,
        on_event=on_event,
        jobs=jobs,
        fresh=request.repeat,
        vmaf=request.vmaf,
    )
    # Before the slow part: an unusable file should be reported at once.
    baselines = baseline_curves(
        {name: anchored_clip.clip for name, anchored_clip in anchored.items()},
        request.baseline_files,
        vmaf=request.vmaf,
    )
    if on_plan is not None:
        on_plan(list(_planned(anchored.values(), others, cache, request)), jobs)
    reports: list[AnchorReport] = []
    for name, anchored_clip in anchored.items():
        reports.append(
            _report(
                anchored_clip, anchored_clip.curve, request, primary, cached=anchored_clip.cached
            )
        )
        if name in baselines:
            reports.append(_report(anchored_clip, baselines[name], request, None, cached=False))
        reports += [
            _other(anchored_clip, encoder, cache, request, jobs, on_event) for encoder in others
        ]
    return tuple(reports)


def _planned(
    anchored: Iterable[AnchoredClip],
    encoders: Sequence[AnchorEncoder],
    cache: Path,
    request: AnchorsRequest,
) -> Iterator[PlannedAnchor]:
    for anchored_clip in anchored:
        unit = AnchorCost.of(anchored_clip.curve).encode_cpu_seconds or 0.0
        whole = FIRST_POINTS * unit * anchored_clip.clip.stream.frame_count
        for encoder in encoders:
            if request.repeat or not is_cached(
                anchored_clip.clip, encoder, cache, primary=anchored_clip.curve, vmaf=request.vmaf
            ):
                yield PlannedAnchor(anchored_clip.clip.name, encoder, whole * encoder.relative_cost)


def _other(
    anchored_clip: AnchoredClip,
    encoder: AnchorEncoder,
    cache: Path,
    request: AnchorsRequest,
    jobs: int,
    on_event: Listener | None,
) -> AnchorReport:
    cached = not request.repeat and is_cached(
        anchored_clip.clip, encoder, cache, primary=anchored_clip.curve, vmaf=request.vmaf
    )
    try:
        curve = covering_curve(
            anchored_clip.clip,
            encoder,
            anchored_clip.curve,
            cache,
            jobs=jobs,
            on_event=on_event,
            fresh=request.repeat,
            vmaf=request.vmaf,
        )
    except InfrastructureFailure as error:
        # One encoder that cannot take a clip (SVT-AV1 needs 64 samples a side) costs a row.
        empty = RdCurve(encoder.name, anchored_clip.clip.name, ())
        return _report(anchored_clip, empty, request, encoder, cached=False, problem=str(error))
    return _report(anchored_clip, curve, request, encoder, cached=cached)


def _report(
    anchored_clip: AnchoredClip,
    curve: RdCurve,
    request: AnchorsRequest,
    encoder: AnchorEncoder | None,
    *,
    cached: bool,
    problem: str = "",
) -> AnchorReport:
    return AnchorReport(
        curve=curve,
        operating_psnr_y_db=anchored_clip.operating_psnr_y_db,
        cached=cached,
        stream=anchored_clip.clip.stream,
        clip_sha256=anchored_clip.clip.sha256,
        primary=anchored_clip.curve,
        base_name=encoder.base_name if encoder else BASELINE,
        command=encoder.described() if encoder else "",
        operating_ratio=None if _is_few(curve) else _operating_ratio(anchored_clip, curve),
        equal_quality_ratio=_equal_quality_ratio(anchored_clip, curve),
        comparisons=_comparisons(anchored_clip, curve, request.metrics),
        problem=problem or _few_files(anchored_clip, curve),
        notices=anchored_clip.clip.notices,
    )


def _is_few(curve: RdCurve) -> bool:
    """Whether these are files of a person, too few to be a curve."""
    return curve.codec == BASELINE and len(curve.points) < MIN_POINTS


def _few_files(anchored_clip: AnchoredClip, curve: RdCurve) -> str:
    """Say what files that are no curve need, each at its own quality, or why that is not known."""
    if not _is_few(curve):
        return ""
    primary = anchored_clip.curve
    low, high = quality_range_db(primary)
    said = []
    for point in curve.points:
        quality = point.quality.psnr_y_db
        ratio = bits_ratio(primary, point)
        if ratio:
            change = f"{100 * (1 / ratio - 1):+.1f} % bits against {primary.codec}"
        elif quality >= PSNR_CAP_DB:
            change = "lossless, which no lossy rate compares with"
        else:
            change = (
                f"no figure, as {primary.codec} was measured from {low:.2f} to {high:.2f} dB and "
                "nothing is extrapolated"
            )
        said.append(f"file {point.qp:g} at {quality:.2f} dB PSNR-Y: {change}")
    count = f"{len(curve.points)} of the {MIN_POINTS} points that a BD-rate needs"
    return "; ".join([count, *said])


def _operating_ratio(anchored_clip: AnchoredClip, curve: RdCurve) -> float | None:
    try:
        bits = bits_at_quality(curve, anchored_clip.operating_psnr_y_db)
    except CandidateFailure:  # it does not reach that quality, or is no curve
        return None
    return bits / operating_bits(anchored_clip.clip.stream)


def _equal_quality_ratio(anchored_clip: AnchoredClip, curve: RdCurve) -> float | None:
    """Bits of a single file over those of the primary anchor at the file's quality."""
    if curve.codec != BASELINE or len(curve.points) != 1:
        return None
    ratio = bits_ratio(anchored_clip.curve, curve.points[0])
    return 1 / ratio if ratio else None


def _comparisons(
    anchored_clip: AnchoredClip, curve: RdCurve, metrics: Sequence[Metric]
) -> Mapping[Metric, Comparison]:
    if curve is anchored_clip.curve or _is_few(curve):
        return {}
    return {found.metric: found for found in compare_curves(anchored_clip.curve, curve, metrics)}
