"""Fuzzing of what is read: videos made by ffmpeg's own sources, whole, cut off and damaged.

A video is made with known samples, in a random container, codec, pixel format, size and rate. Read
whole, it must yield exactly those frames. Cut off or damaged, it must be refused with a message
that helps, or yield frames that are right; and the part that a message advises must be right too.

    python tools/fuzz_media.py --seconds 600 --seed 1
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evocodec.domain.errors import EvocodecError, SourceError
from evocodec.video.clip_spec import ClipSource, parse_clip
from evocodec.video.clips import Clip, load_clip
from evocodec.video.ffmpeg import ffmpeg_exe

Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Kind:
    """A container and codec; ``checked`` if each frame carries a checksum that ffmpeg compares."""

    suffix: str
    options: tuple[str, ...]
    formats: tuple[str, ...] = ("yuv420p",)
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: what, and how to make it again."""

    what: str
    recipe: str


_X264 = ("-c:v", "libx264", "-preset", "ultrafast")
_X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none")
_DEEP = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "gray", "yuvj420p")
KINDS = (
    Kind("mkv", ("-c:v", "ffv1", "-g", "1", "-slicecrc", "1"), (*_DEEP, "gbrp"), checked=True),
    Kind("nut", ("-c:v", "ffv1", "-g", "1", "-slicecrc", "1"), _DEEP, checked=True),
    Kind("avi", ("-c:v", "ffv1", "-g", "1", "-slicecrc", "1"), ("yuv420p",), checked=True),
    Kind("mkv", _X264, ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le")),
    Kind("mkv", (*_X264, "-bf", "2", "-x264-params", "bframes=2:b-adapt=0")),
    Kind("mp4", (*_X264, "-bf", "3", "-x264-params", "bframes=3:b-adapt=0")),
    Kind("mp4", (*_X264, "-g", "4", "-movflags", "frag_keyframe+empty_moov")),
    Kind("mp4", (*_X264, "-movflags", "+faststart")),
    Kind("mov", ("-c:v", "prores_ks"), ("yuv422p10le",)),
    Kind("mp4", _X265, ("yuv420p", "yuv420p10le", "gray")),
    Kind("ts", (*_X264, "-g", "5")),
    Kind("flv", _X264),
    Kind("avi", ("-c:v", "mjpeg", "-q:v", "3"), ("yuvj420p",)),
    Kind("mpg", ("-c:v", "mpeg2video", "-q:v", "3")),
    Kind("mxf", ("-c:v", "mpeg2video", "-q:v", "3")),
    Kind("ogv", ("-c:v", "libtheora", "-q:v", "8")),
    Kind("webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
    Kind("ivf", ("-c:v", "libsvtav1", "-preset", "12"), ("yuv420p", "yuv420p10le")),
    Kind("gif", (), ("rgb24",)),
    Kind("apng", ("-f", "apng"), ("rgb24",), checked=True),
    Kind("y4m", ("-strict", "-1"), ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray")),
    Kind("h264", _X264),
    Kind("hevc", _X265),
)
_RATES = ("25", "24000/1001", "30", "50", "7", "12.5", "60000/1001")
_FILTERS = ("null", "noise=alls=20:allf=t", "hue=s=0", "negate", "fade=in:0:4", "boxblur=2")
_SOURCES = ("testsrc2", "gradients=speed=0.1", "mandelbrot", "smptehdbars")
_FRAME_TIME = "setpts='if(lt(N,3),N,3+(N-3)*2)/25/TB'"


class Fuzzer:
    """One row of cases from a seed; findings are collected."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self.findings: list[Finding] = []
        self.cases = 0

    def case(self) -> None:
        """Make one video, and read it whole, cut off and damaged."""
        kind = self._random.choice(KINDS)
        form = self._random.choice(kind.formats)
        count = self._random.randint(3, 16)
        path, recipe = self._make(kind, form, count)
        self.cases += 1
        if not path.exists() or not path.stat().st_size:
            return  # this ffmpeg cannot make it
        whole = self._read(str(path), recipe)
        if isinstance(whole, str):
            self._found(f"a whole file is refused: {whole}", recipe)
            return
        self._compare(whole, path, form, count, recipe)
        for change in ("cut", "cut", "flip", "drop"):
            self._broken(kind, whole, path, change, recipe)

    def _make(self, kind: Kind, form: str, count: int) -> tuple[Path, str]:
        width, height = (2 * self._random.randint(16, 70) for _ in range(2))
        rate = self._random.choice(_RATES)
        clock: tuple[str, ...] = ()
        chain = [self._random.choice(_FILTERS), f"format={form}"]
        if self._random.random() < 0.2 and kind.suffix in ("mkv", "mp4", "nut"):
            chain.append(_FRAME_TIME)
            clock = ("-enc_time_base", "1/90000")
        source = self._random.choice(_SOURCES)
        source += f"{':' if '=' in source else '='}s={width}x{height}:r={rate}"
        path = self._folder / f"case.{kind.suffix}"
        path.unlink(missing_ok=True)
        command = [
            *("-f", "lavfi", "-i", source, "-vf", ",".join(chain), "-frames:v", str(count)),
            *(
                "-fps_mode",
                "passthrough",
                *clock,
                *kind.options,
                "-pix_fmt",
                form,
                str(path),
            ),
        ]
        _ffmpeg(command)
        return path, "ffmpeg " + " ".join(command)

    def _compare(self, whole: Clip, path: Path, form: str, count: int, recipe: str) -> None:
        stream = whole.stream
        if stream.frame_count != count:
            self._found(f"{stream.frame_count} frames where {count} were made", recipe)
            return
        wanted = _luma(path, (stream.width, stream.height))
        if wanted is None or form in ("rgb24", "gbrp"):
            return
        apart = max(
            int(np.abs(frame.y.astype(np.int64) - luma).max())
            for frame, luma in zip(whole.frames, wanted, strict=True)
        )
        if apart > 1:
            self._found(f"luma is {apart} levels off", recipe)

    def _broken(self, kind: Kind, whole: Clip, path: Path, change: str, recipe: str) -> None:
        data = bytearray(path.read_bytes())
        place = self._random.randrange(len(data) // 8, len(data))
        if change == "cut":
            del data[place:]
        elif change == "flip":
            for each in range(place, min(len(data), place + self._random.randint(1, 40))):
                data[each] ^= self._random.randint(1, 255)
        else:
            del data[place : place + self._random.randint(1, 300)]
        broken = self._folder / f"broken.{kind.suffix}"
        broken.write_bytes(data)
        recipe = f"{recipe}  [{change} at {place} of {path.stat().st_size}]"
        found = self._read(str(broken), recipe)
        if isinstance(found, str):
            self._advised(found, kind, whole, change, recipe)
        elif change == "cut" or kind.checked:
            self._is_prefix(found, whole, recipe, told=bool(found.notices))

    def _advised(self, message: str, kind: Kind, whole: Clip, change: str, recipe: str) -> None:
        advice = re.search(r"for example `([^`]*@0-(\d+))`", message)
        if advice is None:
            return
        part = self._read(advice[1], recipe)
        if isinstance(part, str):
            # A parser's complaint may come some frames early: then fewer are known to be whole.
            if kind.checked or "damaged" not in part:
                self._found(f"the advice {advice[2]} is refused: {part}", recipe)
        elif change == "cut" or kind.checked:
            self._is_prefix(part, whole, recipe, told=False)

    def _is_prefix(self, found: Clip, whole: Clip, recipe: str, *, told: bool) -> None:
        same = all(
            np.array_equal(a, b)
            for one, other in zip(found.frames, whole.frames, strict=False)
            for a, b in zip(one, other, strict=True)
        )
        fewer = len(found.frames) < len(whole.frames)
        if found.stream.frame_count > whole.stream.frame_count or (not same and not told):
            self._found("frames are wrong without a word", recipe)
        elif fewer and not told and found.source.frames is None:
            self._found(f"{len(found.frames)} of {len(whole.frames)} without a word", recipe)

    def _read(self, text: str, recipe: str) -> Clip | str:
        source: ClipSource = parse_clip(text)
        try:
            return load_clip(source)
        except SourceError as error:
            if re.search(r"0x[0-9a-f]{6}", str(error)):
                self._found(f"an address in a message: {error}", recipe)
            return str(error)
        except EvocodecError as error:
            self._found(f"{type(error).__name__}: {error}", recipe)
            return ""
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            self._found(traceback.format_exc(limit=-3), recipe)
            return ""

    def _found(self, what: str, recipe: str) -> None:
        self.findings.append(Finding(what, recipe))


def _ffmpeg(command: Sequence[str]) -> bytes:
    done = subprocess.run(
        [ffmpeg_exe(), "-v", "quiet", "-nostdin", "-y", *command], capture_output=True, check=False
    )
    return done.stdout


def _luma(path: Path, size: tuple[int, int]) -> Iterator[Array] | None:
    """Decode by another way, and convert luma by formula; None for what has no luma."""
    report = subprocess.run(
        [ffmpeg_exe(), "-hide_banner", "-i", str(path)], capture_output=True, text=True, check=False
    ).stderr
    match = re.search(r"Video: [^\n]*?, (yuvj?4\d\dp|gray)(10le)?\(?(tv|pc)?", report)
    if match is None or re.search(r"smpte170m|bt470bg", report):
        return None
    deep, full = match[2] is not None, match[3] == "pc" or "j" in match[1]
    form = f"gray{'10le' if deep else ''}"
    raw = _ffmpeg(
        [
            *("-i", str(path), "-map", "0:V:0", "-fps_mode", "passthrough"),
            *("-vf", "extractplanes=y" if match[1] != "gray" else "null"),
            *("-f", "rawvideo", "-pix_fmt", form, "-"),
        ]
    )
    samples = np.frombuffer(raw, "<u2" if deep else np.uint8).astype(np.int64)
    return (_converted(frame, deep=deep, full=full) for frame in samples.reshape(-1, *size[::-1]))


def _converted(luma: Array, *, deep: bool, full: bool) -> Array:
    if full:
        return np.rint(16 + luma * 219 / (1023 if deep else 255)).astype(np.int64)
    return np.minimum((luma + 2) >> 2, 255) if deep else luma


def fuzz(folder: Path, *, seed: int, seconds: float = 0.0, cases: int = 0) -> Fuzzer:
    """Try cases until there were so many, or so much time is over."""
    fuzzer = Fuzzer(folder, seed)
    end = time.monotonic() + seconds
    while fuzzer.cases < cases or time.monotonic() < end:
        fuzzer.case()
    return fuzzer


def main() -> int:
    """Run from the command line; the exit code is 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evocodec-fuzz-") as name:
        fuzzer = fuzz(Path(name), seed=options.seed, seconds=options.seconds)
    for finding in fuzzer.findings:
        sys.stdout.write(f"{finding.what}\n    {finding.recipe}\n")
    told = f"{fuzzer.cases} videos, {len(fuzzer.findings)} findings, seed {options.seed}\n"
    sys.stdout.write(told)
    return 1 if fuzzer.findings else 0


if __name__ == "__main__":
    sys.exit(main())
