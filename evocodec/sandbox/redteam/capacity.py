"""Capacity of side channels: how many bits an encoder hands its decoder besides the packets.

Each trial sends new random bits, which are part of the encoder's frame. Its decoder guesses them,
and guesses once more on another launcher, as every decode is verified: what a cheat gains must
arrive both times. The estimates treat a channel as binary and symmetric, with independent bits.
"""

import math
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from evocodec.domain.errors import CandidateFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.domain.vocabulary import AttackOutcome
from evocodec.sandbox.launcher import Launcher
from evocodec.sandbox.page_cache import drop_page_cache
from evocodec.sandbox.policy import DEFAULT_IMPORTS
from evocodec.sandbox.redteam.attack import SMALL_LIMITS

_STREAM = StreamInfo(64, 48, Fraction(30), 1)
_SHOWN_COVERAGE = 0.95
_JUDGED_COVERAGE = 0.9999  # of a verdict: a suite of many channels must not fail by chance
REFUSED = b"REFUSED "


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to leave something for a decoder; ``what`` completes "an encoder could …".

    ``program`` has placeholders: see ``_fill``. One trial sends ``bits``. ``limit_bits``: what
    docs/sandbox.md says of it, in bits an encode; 0 for a closed channel. ``side_by_side``: the
    decoder runs while the encoder does, instead of afterwards. ``cold_pages``: files that nobody
    uses are put out of memory before the encode.
    """

    name: str
    what: str
    program: str
    bits: int
    trials: int = 4
    limit_bits: float = 0.0
    side_by_side: bool = False
    cold_pages: bool = False


@dataclass(frozen=True, slots=True)
class Capacity:
    """What arrived: ``counts`` of sent and received bits, as ``(0 as 0, 0 as 1, 1 as 0, 1 as 1)``.

    ``bits`` were sent an encode.
    """

    counts: tuple[int, int, int, int]
    bits: int

    @property
    def sent(self) -> int:
        """Number of bits sent in all trials."""
        return sum(self.counts)

    @property
    def errors(self) -> int:
        """Number of bits that arrived wrong."""
        return self.counts[1] + self.counts[2]

    @property
    def mutual_information_bits(self) -> float:
        """Bits an encode, by the counts, less the bias of few samples (Miller and Madow, 1955)."""
        if not self.sent:
            return 0.0
        table = np.array(self.counts, dtype=float).reshape(2, 2) / self.sent
        independent = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
        seen = table > 0
        information = float((table[seen] * np.log2(table[seen] / independent[seen])).sum())
        bias = 1 / (2 * self.sent * math.log(2))
        return self.bits * min(1.0, max(0.0, information - bias))

    @property
    def symmetric_bits(self) -> float:
        """Capacity in bits an encode of a binary symmetric channel with this rate of errors."""
        return self.bits * _symmetric(self.errors / self.sent) if self.sent else 0.0

    def interval_bits(self, coverage: float = _SHOWN_COVERAGE) -> tuple[float, float]:
        """Bounds of ``symmetric_bits`` (exact: Clopper and Pearson, 1934)."""
        low, high = error_interval(self.errors, self.sent, coverage)
        ends = (_symmetric(low), _symmetric(high))
        least = 0.0 if low <= 0.5 <= high else min(ends)
        return self.bits * least, self.bits * max(ends)


@dataclass(frozen=True, slots=True)
class ChannelResult:
    """A measured channel: at the first decode, and at its repetition on another launcher.

    ``refusal``: what stopped the encoder or decoder; empty when both did what they wanted.
    """

    channel: Channel
    first: Capacity
    repeated: Capacity
    seconds: float
    refusal: str = ""

    @property
    def verdict(self) -> AttackOutcome:
        """BROKEN when surely more arrives both times than is documented.

        It is documented when it is open, and no more than that.
        """
        surely = min(c.interval_bits(_JUDGED_COVERAGE)[0] for c in (self.first, self.repeated))
        if surely > self.channel.limit_bits:
            return AttackOutcome.BROKEN
        return AttackOutcome.DOCUMENTED if self.channel.limit_bits else AttackOutcome.HELD

    @property
    def layer(self) -> str:
        """What closes or bounds it."""
        if self.refusal:
            return "path_lock" if "PermissionError" in self.refusal else "refused"
        return "documented" if self.channel.limit_bits else "nothing arrives"


def error_interval(errors: int, count: int, coverage: float) -> tuple[float, float]:
    """Return exact bounds of a rate of which ``errors`` of ``count`` were seen."""
    if not count:
        return 0.0, 1.0
    tail = (1 - coverage) / 2
    low = 0.0 if not errors else _root(lambda p: 1 - _at_most(errors - 1, count, p) - tail)
    high = 1.0 if errors == count else _root(lambda p: tail - _at_most(errors, count, p))
    return low, high


def _root(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return low


def _at_most(errors: int, count: int, rate: float) -> float:
    """Return the probability of at most ``errors``; binomial."""
    if rate <= 0 or rate >= 1:
        return float(rate <= 0)
    logs = (
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(rate)
        + (count - k) * math.log1p(-rate)
        for k in range(errors + 1)
    )
    return min(1.0, sum(map(math.exp, logs)))


def _symmetric(rate: float) -> float:
    """Capacity in bits a use of a binary symmetric channel."""
    if rate in {0.0, 1.0}:
        return 1.0
    return 1 + rate * math.log2(rate) + (1 - rate) * math.log2(1 - rate)


def measure(channel: Channel, launcher: Launcher, other: Launcher) -> ChannelResult:
    """Measure a channel; ``other`` decodes again. Raises InfrastructureFailure."""
    began = time.monotonic()
    totals = [np.zeros(4, dtype=int), np.zeros(4, dtype=int)]
    refusal = ""
    for _ in range(channel.trials):
        sent, received, refused = _try_once(channel, (launcher, other))
        refusal = refusal or refused
        totals = [
            total + np.bincount(2 * sent + guess, minlength=4)
            for total, guess in zip(totals, received, strict=True)
        ]
    first, repeated = (
        Capacity((int(t[0]), int(t[1]), int(t[2]), int(t[3])), channel.bits) for t in totals
    )
    return ChannelResult(channel, first, repeated, time.monotonic() - began, refusal)


def _try_once(
    channel: Channel, launchers: tuple[Launcher, Launcher]
) -> tuple[np.ndarray, list[np.ndarray], str]:
    program = _fill(channel)
    rng = np.random.default_rng()
    shapes = (
        (_STREAM.height, _STREAM.width),
        *((_STREAM.chroma_height, _STREAM.chroma_width),) * 2,
    )
    frame = Frame(*(rng.integers(0, 256, shape, np.uint8) for shape in shapes))
    packets: Sequence[bytes] = (b"x",)
    received, refusal = [], ""

    def encode() -> Sequence[bytes]:
        return launchers[0].encode(program, [frame], _STREAM, 30.0, SMALL_LIMITS).packets

    if channel.cold_pages:
        drop_page_cache(DEFAULT_IMPORTS)
    try:
        if channel.side_by_side:
            for launcher in launchers:
                with ThreadPoolExecutor(1) as thread:
                    encoding = thread.submit(encode)
                    received.append(_decode(channel, launcher, program, packets))
                    encoding.result()
        else:
            packets = encode()
            received.append(_decode(channel, launchers[0], program, packets))
            drop_page_cache(DEFAULT_IMPORTS)  # as before every verification
            received.append(_decode(channel, launchers[1], program, packets))
    except CandidateFailure as failure:
        refusal = str(failure)
    if packets and packets[0].startswith(REFUSED):
        refusal = packets[0].removeprefix(REFUSED).decode("utf-8", "replace")[:200]
    nothing = np.zeros(channel.bits, np.uint8)
    received += [nothing] * (2 - len(received))
    return _bits_of(frame, channel), received, refusal


def _decode(
    channel: Channel, launcher: Launcher, program: str, packets: Sequence[bytes]
) -> np.ndarray:
    frames = launcher.decode(program, packets, _STREAM, SMALL_LIMITS).frames
    return _bits_of(frames[0], channel)


def _bits_of(frame: Frame, channel: Channel) -> np.ndarray:
    return np.unpackbits(frame.y.reshape(-1)[: -(-channel.bits // 8)])[: channel.bits]


def _fill(channel: Channel) -> str:
    """Replace the placeholders; @TOKEN@ is new in every trial."""
    values = {
        "@BITS@": str(channel.bits),
        "@TOKEN@": secrets.token_hex(6),
        "@FOLDER@": str(Path(np.__file__).parent),
    }
    program = channel.program
    for name, value in values.items():
        program = program.replace(name, value)
    return program
