"""The clip cache: a folder of video files, limited in bytes and shared by processes.

A reader holds a shared lock on a file in use, and the file is not removed; of the other files, the
least recently used go first. Locks belong to the open file, so they end with the process.
"""

import fcntl
import os
import stat
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from evocodec.domain.errors import InfrastructureFailure
from evocodec.video.data_options import data_options, shared_folder

FRAMES_SUFFIX = ".yuv"
OBJECT_SUFFIX = ".object"
_PART_SUFFIX = ".part"
# A FIFO or a link in the place of a file must neither hold us nor lead to another file.
_OPENING = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_BIG = (FRAMES_SUFFIX, OBJECT_SUFFIX, _PART_SUFFIX)


class HeldFile:
    """An open file of the cache, protected from removal while this object exists."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._close = weakref.finalize(self, os.close, fd)

    def size(self) -> int:
        """Return its length in bytes."""
        return os.fstat(self.fd).st_size

    def read(self, start: int, count: int) -> bytes:
        """Return exactly these bytes; raises ``InfrastructureFailure`` when they are missing."""
        try:
            data = os.pread(self.fd, count, start)
            while len(data) < count and (
                more := os.pread(self.fd, count - len(data), start + len(data))
            ):
                data += more
        except OSError as error:
            raise InfrastructureFailure(f"cannot read {self.path}: {error.strerror}") from error
        if len(data) != count:
            raise InfrastructureFailure(
                f"{self.path} was cut short while in use; remove it and try again"
            )
        return data

    def close(self) -> None:
        """Release the file now."""
        self._close()


@dataclass(frozen=True, slots=True)
class ClipCache:
    """The cache in one folder; thread-safe and process-safe."""

    folder: Path
    limit_bytes: int

    def prepare(self) -> None:
        """Create the folder, private to this user; raises ``InfrastructureFailure``."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.folder == shared_folder():
                for folder in (self.folder.parent, self.folder):
                    _require_own(folder)
        except InfrastructureFailure:
            raise
        except OSError as error:
            raise self._unusable(error) from error

    def find(self, name: str) -> HeldFile | None:
        """Open a file for use; returns None when it is not there."""
        path = self.folder / name
        while True:
            try:
                held = HeldFile(path, os.open(path, os.O_RDONLY | _OPENING))
            except FileNotFoundError:
                return None
            except OSError as error:
                raise self._unusable(error) from error
            fcntl.flock(held.fd, fcntl.LOCK_SH)
            if os.fstat(held.fd).st_nlink:  # else it was removed before the lock was there
                with suppress(OSError):
                    os.utime(path)
                return held

    def create(self, name: str = "") -> HeldFile:
        """Open a file for reading and writing, created if missing; without a name, a new file."""
        self.prepare()
        path = self.folder / (name or f"{uuid.uuid4().hex}{_PART_SUFFIX}")
        while True:
            try:
                held = HeldFile(path, os.open(path, os.O_RDWR | os.O_CREAT | _OPENING, 0o600))
            except OSError as error:
                raise self._unusable(error) from error
            fcntl.flock(held.fd, fcntl.LOCK_SH)
            if os.fstat(held.fd).st_nlink:
                return held

    def rename(self, held: HeldFile, name: str) -> HeldFile:
        """Give a finished file its name; returns the existing file if the name is taken."""
        existing = self.find(name)
        if existing is not None:
            held.path.unlink(missing_ok=True)
            return existing
        target = self.folder / name
        os.replace(held.path, target)
        held.path = target
        return held

    @contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        """Hold the lock called ``name`` against other processes and threads."""
        self.prepare()
        fd = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | _OPENING, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def make_room(self, extra_bytes: int = 0) -> None:
        """Remove the least recently used files until ``extra_bytes`` fit; files in use stay."""
        files = []
        for path in self.folder.glob("*"):
            if path.suffix in _BIG:
                with suppress(OSError):
                    found = path.stat()
                    files.append((found.st_mtime_ns, found.st_blocks * 512, path))
        total = extra_bytes + sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit_bytes:
                return
            if _remove_unused(path):
                total -= size

    def _unusable(self, error: OSError) -> InfrastructureFailure:
        return InfrastructureFailure(
            f"the video cache {self.folder} cannot be used: {error.strerror or error}; "
            "free some space or name another workspace with --workspace"
        )


def clip_cache() -> ClipCache:
    """Return the cache that this process is configured to use."""
    options = data_options()
    return ClipCache(options.cache_folder, options.cache_bytes)


def _require_own(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InfrastructureFailure(
            f"{folder} belongs to another user, or other users can write to it; remove it"
        )


def _remove_unused(path: Path) -> bool:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | _OPENING)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(fd)
        return True
    return False
