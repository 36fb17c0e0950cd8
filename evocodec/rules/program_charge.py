"""Rule for a program's bytes: when they are charged to the streams, and how many."""

from dataclasses import dataclass
from enum import StrEnum

_LARGE_SHARE = 0.02


class ChargeMode(StrEnum):
    """When a program's bytes are charged."""

    NEVER = "never"
    ALWAYS = "always"  # all of the packed program
    AUTO = "auto"  # what is beyond the free size, where that is much beside the stream


@dataclass(frozen=True, slots=True)
class ProgramCharge:
    """When a program is charged; ``free_bytes`` of it are code that any codec needs."""

    mode: ChargeMode
    free_bytes: int

    def charged_bytes(self, packed_bytes: int, stream_bits: float) -> int:
        """Return how many bytes of a program with ``packed_bytes`` are added to every stream.

        ``stream_bits`` is what HEVC needs for one stream at the operating quality, the mean over
        the development clips. By ``auto``, the bytes beyond the free size are charged when they are
        more than 2 % of that. It depends on nothing that the program does.
        """
        if self.mode is ChargeMode.NEVER:
            return 0
        if self.mode is ChargeMode.ALWAYS:
            return packed_bytes
        excess = max(0, packed_bytes - self.free_bytes)
        return excess if 8 * excess > _LARGE_SHARE * stream_bits else 0
