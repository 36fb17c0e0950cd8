"""Message format on the pipes of a job: one tag byte, a 32-bit little-endian length, the payload.

The reading side treats the writer as hostile: every length is checked before a byte is stored.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("<BI")


class Tag(IntEnum):
    """Type of a message."""

    READY = 1  # guest → supervisor: the layers in force, before the candidate's first line runs
    SETUP_FAILED = 2  # guest → supervisor: isolation could not be set up
    PACKET = 3
    FRAME = 4  # planes y, u, v, raw, one after another
    END = 5
    ERROR = 6  # guest → supervisor: kind, message and traceback, separated by NUL
    PROGRAM = 7  # supervisor → guest: the candidate's source
    ENTERED = 8  # guest → supervisor: from here on, what goes wrong is the candidate's
    STARTED = 9  # guest → supervisor: libraries are loaded, paths locked: the first line runs now


class FramingError(ValueError):
    """The other side broke the protocol."""


class Message(NamedTuple):
    """One complete message."""

    tag: Tag
    payload: bytearray


class MessageReader:
    """Assembles messages from pieces of any size.

    ``check`` is called with tag and length as soon as a header is complete and raises to refuse
    it. Usage: read into ``space()``, then call ``filled(count)``.
    """

    def __init__(self, check: Callable[[Tag, int], None]) -> None:
        self._check = check
        self._header = bytearray(HEADER.size)
        self._payload: bytearray | None = None
        self._tag = Tag.END
        self._count = 0

    @property
    def idle(self) -> bool:
        """Whether the reader is between two messages, the only place where a stream may end."""
        return self._payload is None and self._count == 0

    def space(self) -> memoryview:
        """Return the buffer for the next bytes; it is never empty."""
        target = self._header if self._payload is None else self._payload
        return memoryview(target)[self._count :]

    def filled(self, count: int) -> Message | None:
        """Record that ``count`` bytes arrived; returns the message that they complete, if any.

        Raises FramingError for an unknown tag, and the errors of ``check``.
        """
        self._count += count
        if self._payload is None:
            if self._count < HEADER.size:
                return None
            self._start_payload()
        assert self._payload is not None  # noqa: S101 - for the type checker
        if self._count < len(self._payload):
            return None
        message = Message(self._tag, self._payload)
        self._payload, self._count = None, 0
        return message

    def _start_payload(self) -> None:
        number, length = HEADER.unpack(self._header)
        try:
            self._tag = Tag(number)
        except ValueError:
            raise FramingError(f"message of unknown kind {number}") from None
        self._check(self._tag, length)
        self._payload, self._count = bytearray(length), 0


def pack_header(tag: Tag, length: int) -> bytes:
    """The five bytes before a payload."""
    return HEADER.pack(tag, length)
