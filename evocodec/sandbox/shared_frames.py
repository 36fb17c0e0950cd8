"""Shared frames: the supervisor's side of the shared memory that frames pass through."""

import contextlib
import fcntl
import mmap
import os
from typing import Self

from evocodec.domain.video import Frame, Plane, StreamInfo
from evocodec.guest.ring import Ring, ring_bytes

_F_SEAL_FUTURE_WRITE = 0x10  # Linux 5.1: mappings made from now on are read-only


class SharedFrames:
    """Anonymous memory for one job, of a size that the job cannot change; a context manager.

    The job can only read an encoder's memory. A decoder's job writes to it; ``take`` copies.
    """

    def __init__(self, stream: StreamInfo, *, job_writes: bool) -> None:
        self.size_bytes = ring_bytes(stream)
        self.fd = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, self.size_bytes)
            protection = mmap.PROT_READ | (0 if job_writes else mmap.PROT_WRITE)
            self._memory = mmap.mmap(self.fd, self.size_bytes, mmap.MAP_SHARED, protection)
            self._seal(job_writes=job_writes)
        except OSError:
            os.close(self.fd)
            raise
        self._ring: Ring | None = Ring(memoryview(self._memory), stream)

    def _seal(self, *, job_writes: bool) -> None:
        if not job_writes:
            with contextlib.suppress(OSError):  # an old kernel: it spoils its own input at most
                fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)

    def put(self, index: int, frame: Frame) -> None:
        """Copy a frame in for an encoder."""
        assert self._ring is not None  # noqa: S101 - for the type checker
        self._ring.put(index, frame)

    def take(self, index: int) -> Plane:
        """Copy a decoder's frame out, flat; untrusted samples."""
        assert self._ring is not None  # noqa: S101 - for the type checker
        return self._ring.take(index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ring = None
        with contextlib.suppress(BufferError):  # a traceback still refers to it
            self._memory.close()
        os.close(self.fd)
