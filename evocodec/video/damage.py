"""Damage: refuses frames of a broken file, and finds the first frame that is not what was coded.

ffmpeg conceals damage: it shows something and goes on. Such pictures must never become a reference.
Frames before the first complaint are whole, and a part that ends there can be used. A part behind
the damage can be used if a decoder that starts at a keyframe behind it yields the same frames.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

from evocodec.domain.errors import SourceError
from evocodec.domain.video import Frame
from evocodec.video.clip_spec import ClipSource
from evocodec.video.ffmpeg import DecodeOutcome, decoding, ffmpeg_exe
from evocodec.video.ffmpeg_input import open_input
from evocodec.video.ffmpeg_messages import cause
from evocodec.video.sources import LocalVideo
from evocodec.video.y4m import pack_frame

_TRIES = 3
_REORDERED = 16  # the most pictures that H.264 and HEVC may hold back
# What decoders say of pictures before the first keyframe, none of which they show.
_BEGINS_INSIDE = re.compile(
    "non-existing [SP]PS|no frame!|decode_slice_header error|PPS id out of range|"
    "[VSP]PS (id )?\\d+ |Error parsing NAL unit|sps_id out of range"
)
# Speakers that read and split packets, ahead of the decoder.
_READERS = re.compile(r"\[(in#|ivf|obu|av1_frame)")
_WHOLE = frozenset(("rawvideo", "wrapped_avframe"))


@dataclass(frozen=True, slots=True)
class _Diagnosis:
    """The number of whole frames from the file's first one on, and the first complaint."""

    clean: int
    complaint: str


def require_sound(
    source: ClipSource, video: LocalVideo, filters: str, outcome: DecodeOutcome
) -> None:
    """Raise ``SourceError`` unless all frames of a finished decode are what was coded.

    A file that is cut off or damaged is refused as a source. A part of it is accepted where it ends
    before the first complaint, or where a decoder that starts behind the damage agrees with it.
    """
    if not outcome.complaint and not video.truncated:
        return
    if video.feed is not None:
        if outcome.complaint or source.frames is None:
            _refuse(
                source, outcome.complaint or video.truncated, source.start_frame + outcome.clean
            )
        return
    diagnosis = _diagnose(video)
    if source.frames is not None:
        if outcome.complaint and outcome.clean >= source.frames:
            return
        if _reaches(video, diagnosis, source.start_frame + source.frames):
            return
        if source.start_frame and _agrees_behind(video, filters, outcome):
            return
    diagnosis = min(diagnosis, _diagnose(video), key=lambda found: found.clean)
    what = diagnosis.complaint or outcome.complaint or video.truncated
    _refuse(source, what, diagnosis.clean)


def _reaches(video: LocalVideo, diagnosis: _Diagnosis, end: int) -> bool:
    """Whether frames before ``end`` are whole by any of some diagnoses.

    Each is right in what it calls whole; a parser's complaint may come some frames early.
    """
    tries = 1
    while end > diagnosis.clean and tries < _TRIES:
        diagnosis, tries = _diagnose(video), tries + 1
    return end <= diagnosis.clean


def _refuse(source: ClipSource, complaint: str, clean: int) -> NoReturn:
    could = f"{clean} frames could be decoded before the first that may be wrong"
    if clean > source.start_frame:
        advice = f"{could}: ask for those, for example `{source.path}@{source.start_frame}-{clean}`"
    elif clean:
        advice = f"{could}: ask for those, `{source.path}@0-{clean}`, or for frames well behind it"
    else:
        advice = "no frame is known to be whole: name a part well behind the damage"
    message = (
        f"{source.path}: damaged or truncated: {complaint}; {advice}, or get a whole copy of the "
        "file"
    )
    raise SourceError(message)


class _Reading:
    """What ffmpeg reports while it reads and decodes in one thread, line by line."""

    def __init__(self) -> None:
        self.frames = 0
        self._started = False
        self._early = self._inside = ""
        self._reading: _Diagnosis | None = None
        self._shown: list[int] = []  # presentation times
        self._reached: int | None = None  # the last packet's decoding time
        self._timed = True

    def line(self, text: str) -> _Diagnosis | None:
        """Take a line; returns the diagnosis at the first complaint about what is read."""
        self._started = self._started or "Stream mapping:" in text
        self.frames += text.count("decoder -> pts:")
        if "demuxer+ffmpeg ->" in text and "type:video" in text:
            shown, decoded = (re.search(rf"pkt_{name}:(-?\d+) ", text) for name in ("pts", "dts"))
            self._timed = self._timed and shown is not None
            self._shown.append(int(shown[1]) if shown else 0)
            self._reached = int(decoded[1]) if decoded else None
        if not re.search(r"\[(error|fatal|panic)\]", text):
            return None
        complaint = cause(re.sub(r"\[(error|fatal|panic)\]\s*", "", text))
        if not self.frames and _BEGINS_INSIDE.match(complaint):
            self._inside = complaint
        elif complaint and self._started:
            if not _READERS.match(text):
                return _Diagnosis(self.frames, complaint)
            # What was read before is decoded yet, and may hold less than it seems.
            self._reading = self._reading or _Diagnosis(self.read, complaint)
        elif not self._started:
            # A decoder that only looked at the first packets repeats what concerns them.
            self._early = self._early or complaint
        return None

    def earliest(self, found: _Diagnosis) -> _Diagnosis:
        """Return the diagnosis that leaves fewer frames: this one, or what a reader said before."""
        before = self._reading
        return before if before is not None and before.clean < found.clean else found

    @property
    def read(self) -> int:
        """Frames that are whole if all packets but the last one are.

        Those are shown before any packet that was not read, or not wholly, could be: no packet is
        shown before it is decoded.
        """
        if not self._timed or self._reached is None:
            return max(0, min(self.frames, len(self._shown)) - _REORDERED)
        return sum(shown < self._reached for shown in self._shown[:-1])

    def end(self, truncated: str) -> _Diagnosis:
        """Return the diagnosis when nothing was complained of while packets were read."""
        if self._reading is not None:
            return _Diagnosis(min(self._reading.clean, self.frames), self._reading.complaint)
        if truncated:
            return _Diagnosis(min(self.read, self.frames), truncated)
        if self._inside:
            return _Diagnosis(self.frames, f"it begins inside a group of pictures: {self._inside}")
        return _Diagnosis(0 if self._early else self.frames, self._early)


def _diagnose(video: LocalVideo) -> _Diagnosis:
    """Decode once more in one thread, and see what came before the first complaint.

    ffmpeg then reports every packet read and every frame decoded in the thread that reads or
    decodes, and so in order with its complaints.
    """
    reading = _Reading()
    with open_input(Path(video.path)) as opened:
        command = [
            *(ffmpeg_exe(), "-hide_banner", "-nostats", "-v", "level+info", "-debug_ts"),
            *("-threads", "1", *opened.options, "-map", "0:V:0", "-f", "null", "-"),
        ]
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=opened.descriptors,
            text=True,
            errors="replace",
        ) as process:
            try:
                for line in process.stderr or ():
                    found = reading.line(line)
                    if found is not None:
                        return reading.earliest(found)
            finally:
                process.kill()
    if video.declared.codec in _WHOLE:  # the reader hands on whole frames alone
        return _Diagnosis(reading.frames, video.truncated)
    return reading.end(video.truncated)


def _agrees_behind(video: LocalVideo, filters: str, outcome: DecodeOutcome) -> bool:
    """Whether a decoder that seeks to the part's first frame yields it without a complaint."""
    ticks = outcome.times.ticks
    if not outcome.times.complete or len(ticks) != outcome.count or len(ticks) < 2:
        return False
    start = ticks[0] * outcome.times.base
    behind = re.sub(r"trim=start_frame=\d+:end_frame=\d+", f"trim=end_frame={len(ticks)}", filters)
    with (
        decoding(video.path, filters, threads=1) as straight,
        decoding(video.path, behind, threads=1, seek_seconds=start) as sought,
    ):
        same = _same(straight.frames(), sought.frames())
        return same and not sought.outcome.complaint


def _same(one: Iterator[Frame], other: Iterator[Frame]) -> bool:
    same = True
    for a, b in zip_longest(one, other):  # to the end: only then a decoder's outcome is known
        same = same and a is not None and b is not None and pack_frame(a) == pack_frame(b)
    return same
