"""VMAF and VMAF-NEG, by libvmaf inside the bundled ffmpeg; both models in one pass.

Frames go through one pipe as raw pictures of double height, the reference above the decoded
picture, and the filter graph splits them: two pipes could block each other. Only luma is real,
because the models read nothing else; the chroma that the pixel format needs is filler. Grey formats
would be shorter, but ffmpeg takes them for full range and rescales them.
"""

import json
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from typing import Any, BinaryIO, cast

import numpy as np

from evocodec.domain.errors import InfrastructureFailure
from evocodec.metrics.kernels.protocol import Samples
from evocodec.video.ffmpeg import ffmpeg_exe

VMAF_MIN_SIDE = 64
"""Four scales leave 8 samples there. Below 32 the scores jump about; at 16 libvmaf crashes."""

VMAF_CEILING = 100.0 - 1e-6
"""The models clip their scores at 100: frames there are not told apart."""

_MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}
_EXIT_SECONDS = 600.0


class VmafProcess:
    """One sequence in libvmaf; owned by one thread, and closed by its owner.

    Scores of a frame depend on its neighbours (motion), so they are known only at the end. Raises
    ``InfrastructureFailure`` when ffmpeg lacks libvmaf, or ends without a score for every frame.
    """

    def __init__(self, shape: tuple[int, int], *, bit_depth: int = 8, threads: int = 1) -> None:
        if min(shape) < VMAF_MIN_SIDE:
            raise ValueError(f"VMAF needs {VMAF_MIN_SIDE} samples a side: {shape}")
        require_libvmaf()
        height, width = shape
        self._count = 0
        even_height, half_width = height + height % 2, (width + 1) // 2
        sample = 1 if bit_depth == 8 else 2
        self._row_filler = bytes((even_height - height) * width * sample)
        self._chroma = bytes(2 * half_width * even_height * sample)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        pixels = "yuv420p" if bit_depth == 8 else f"yuv420p{bit_depth}le"
        self._process = subprocess.Popen(
            [
                *(ffmpeg_exe(), "-v", "error", "-nostdin", "-threads", "1", "-f", "rawvideo"),
                *("-pix_fmt", pixels, "-s", f"{width}x{2 * even_height}", "-i", "pipe:0"),
                *("-filter_complex_threads", "1", "-lavfi"),
                _graph(height, width, even_height, f"/dev/fd/{self._log.fileno()}", threads),
                *("-f", "null", "-"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            pass_fds=(self._log.fileno(),),
            start_new_session=True,  # Ctrl-C is for its parent, which ends it in order
        )

    def add(self, reference: Samples, decoded: Samples) -> None:
        """Send the luma of the next frame; waits when libvmaf is slower."""
        pipe = cast(BinaryIO, self._process.stdin)
        with suppress(BrokenPipeError):  # its exit status and its complaints say why
            for plane in (reference, decoded):
                pipe.write(np.ascontiguousarray(plane).data)
                pipe.write(self._row_filler)
            pipe.write(self._chroma)
        self._count += 1

    def finish(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return VMAF and VMAF-NEG of every frame, 0…100."""
        with suppress(BrokenPipeError):
            cast(BinaryIO, self._process.stdin).close()
        try:
            code = self._process.wait(timeout=_EXIT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise InfrastructureFailure(
                f"libvmaf did not end within {_EXIT_SECONDS:g} s after the last frame"
            ) from error
        if code != 0:
            self._complaints.seek(0)
            report = self._complaints.read().decode("utf-8", "replace").strip()
            raise InfrastructureFailure(f"libvmaf failed (ffmpeg exit {code}): {report[-500:]}")
        self._log.seek(0)
        return _read_scores(self._log.read(), self._count)

    def close(self) -> None:
        """End the process if it still runs; may be called twice."""
        if self._process.poll() is None:
            self._process.kill()
        with suppress(BrokenPipeError):
            cast(BinaryIO, self._process.stdin).close()
        self._process.wait()
        self._log.close()
        self._complaints.close()


@cache
def require_libvmaf() -> None:
    """Raise ``InfrastructureFailure`` unless ffmpeg has libvmaf and both models."""
    models = ":".join(("libvmaf=model=" + _model_option(), "n_threads=1"))
    done = subprocess.run(
        [
            *(ffmpeg_exe(), "-v", "error", "-nostdin", "-f", "lavfi", "-i"),
            *("color=s=64x64:r=1:d=1,format=yuv420p,split[a][b];[a][b]" + models, "-f", "null"),
            "-",
        ],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        report = done.stderr.decode("utf-8", "replace").strip()
        raise InfrastructureFailure(
            f"{ffmpeg_exe()} cannot compute VMAF: {report[-300:]}. Unset IMAGEIO_FFMPEG_EXE to use "
            "the one that imageio-ffmpeg brings, or go without: `--set evaluation.vmaf=never`"
        )


def _model_option() -> str:
    # The graph's parser takes one level of escaping, the filter's own options another.
    return "|".join(f"version={model}\\\\:name={name}" for name, model in _MODELS.items())


def _graph(height: int, width: int, even_height: int, log: str, threads: int) -> str:
    size = f"{width}:{height}:0"
    return (
        f"split[upper][lower];[upper]crop={size}:0:exact=1[reference];"
        f"[lower]crop={size}:{even_height}:exact=1[decoded];"
        f"[decoded][reference]libvmaf=model={_model_option()}:n_threads={threads}:"
        f"log_fmt=json:log_path={log}"
    )


def _read_scores(log: bytes, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        frames: list[dict[str, Any]] = json.loads(log)["frames"]
        numbers = [frame["frameNum"] for frame in frames]
        scores = [[float(frame["metrics"][name]) for frame in frames] for name in _MODELS]
    except (ValueError, KeyError, TypeError) as error:
        raise InfrastructureFailure(
            f"libvmaf's log cannot be read: {type(error).__name__}: {error}"
        ) from error
    if numbers != list(range(count)):
        raise InfrastructureFailure(f"libvmaf scored {len(numbers)} of {count} frames")
    plain, neg = scores
    return tuple(plain), tuple(neg)
