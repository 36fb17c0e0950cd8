"""Frame times: the rate that the frames of a video really come at, from their timestamps.

What a header calls the frame rate may be a guess: ffmpeg's is the rate that could hold all
timestamps. Bits a second, and an encoder's rate control, need frames over duration.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

_STANDARD = (
    *(Fraction(rate) for rate in (24, 25, 30, 48, 50, 60, 100, 120, 12, 15, 10, 8, 5, 1)),
    *(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120)),
)
# A frame that is a quarter of its own duration early or late is a coarse clock, no other rate.
_JITTER = 0.25
_NEAR = Fraction(1, 100)


@dataclass(frozen=True, slots=True)
class Timing:
    """The rate of a sequence in frames/s, and what has to be said about it, or nothing."""

    fps: Fraction
    notice: str = ""


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Timestamps of frames in display order, in ticks of ``base`` seconds.

    ``complete``: every frame had a timestamp.
    """

    ticks: Sequence[int]
    base: Fraction
    complete: bool = True


def parse_times(lines: Iterable[str]) -> FrameTimes:
    """Parse lines of ``TIMESTAMP BASE``, for example ``3003 1/90000``; one a frame."""
    ticks, base, complete = array("q"), Fraction(1), True
    for line in lines:
        number, _, unit = line.strip().partition(" ")
        try:
            tick = int(number)
            if not len(ticks):
                base = Fraction(unit)
        except (ValueError, ZeroDivisionError):
            complete = False
            continue
        # The largest integer, or less than any, stands for a timestamp that is not there.
        if abs(tick) < 2**62:
            ticks.append(tick)
        else:
            complete = False
    return FrameTimes(ticks, base, complete and base > 0)


def measured_rate(
    times: FrameTimes, declared: Fraction, *, duration: float | None = None
) -> Timing:
    """Return the rate of frames at these times; ``declared`` stays where the times agree with it.

    ``duration`` in seconds is the whole video's, where it is known. Without timestamps, or with
    times that do not rise, the declared rate is all there is, and that is said.
    """
    ticks = times.ticks
    if len(ticks) < 2:
        return Timing(declared)
    gaps = [after - before for before, after in pairwise(ticks)]
    if not times.complete or min(gaps) <= 0:
        return Timing(
            declared,
            f"timestamps are missing or do not rise; the declared rate of {_text(declared)} "
            "frames/s is used",
        )
    if _fits(times, declared):
        return Timing(declared)
    mean = (len(ticks) - 1) / ((ticks[-1] - ticks[0]) * times.base)
    near = [rate for rate in _STANDARD if abs(rate - mean) < _NEAR * mean]
    for rate in (*sorted(near, key=lambda rate: abs(rate - mean)), _rounded(mean)):
        if _fits(times, rate):
            return Timing(
                rate,
                f"the header suggests {_text(declared)} frames/s, but the frames come at "
                f"{_text(rate)}, which is used",
            )
    fps = _rounded(len(ticks) / _span(times, gaps, duration))
    slowest, fastest = (1 / (gap * times.base) for gap in (max(gaps), min(gaps)))
    return Timing(
        fps,
        f"the frame rate is variable ({_text(slowest)} to {_text(fastest)} frames/s): the mean, "
        f"{_text(fps)}, is used for bit rates and for the decoded video, whose frames are shown "
        "evenly",
    )


def _fits(times: FrameTimes, rate: Fraction) -> bool:
    step = float(1 / (rate * times.base))
    first, slack = times.ticks[0], _JITTER * step
    return all(abs(tick - first - index * step) <= slack for index, tick in enumerate(times.ticks))


def _span(times: FrameTimes, gaps: Sequence[int], duration: float | None) -> Fraction:
    """Return the time from the first frame's start to the last one's end, in seconds."""
    shown = (times.ticks[-1] - times.ticks[0]) * times.base
    if duration is not None:
        whole = Fraction(duration).limit_denominator(1000)
        if shown < whole <= shown + 2 * max(gaps) * times.base:
            return whole
    return shown + gaps[-1] * times.base


def _rounded(rate: Fraction) -> Fraction:
    return Fraction(round(rate * 1000), 1000) or Fraction(1, 1000)


def _text(rate: Fraction) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")
