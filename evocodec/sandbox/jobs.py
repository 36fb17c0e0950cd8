"""Types of one job, shared by the launcher, the fork server and the supervisor."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from evocodec.guest.framing import Tag
from evocodec.sandbox.policy import Limits
from evocodec.sandbox.shared_frames import SharedFrames

Buffer: TypeAlias = bytearray | memoryview


class ServerLostError(Exception):
    """The fork server died under this job; the job may be tried again with a new one."""


@dataclass(slots=True)
class Pipes:
    """The supervisor's ends of a job's descriptors."""

    source: int
    target: int
    errors: int
    status: socket.socket

    def close(self) -> None:
        """Close what is still open."""
        for fd in (self.source, self.target, self.errors):
            if fd >= 0:
                os.close(fd)
        self.status.close()
        self.source = self.target = self.errors = -1


@dataclass(slots=True)
class Job:
    """Request of one job: what to send, and what may come back.

    ``max_messages`` and ``max_bytes`` limit the results. With ``exact_count``, exactly
    ``max_messages`` results must come. ``shared`` is the memory that frames pass through, in either
    direction. With a ``sink``, each result is passed to it with its index as it comes, and is not
    kept.
    """

    operation: str
    outgoing: Iterator[memoryview]
    result_tag: Tag
    max_messages: int
    max_bytes: int
    limits: Limits
    exact_count: bool = False
    shared: SharedFrames | None = None
    sink: Callable[[int, Buffer], None] | None = None
