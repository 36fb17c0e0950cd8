"""Regular files: opens and reads what people, settings and folders of others name.

A name may lead to a FIFO, a device or a socket, where opening or reading waits for ever or has
effects, or to a file too large to hold. Every file that is named from outside is opened here.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

SETTINGS_BYTES = 1 << 20
"""What a file of settings or of clip sets may have."""

RECORD_BYTES = 256 << 20
"""What one file of a workspace that is read whole may have."""

_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a FIFO (a named pipe)"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
    (stat.S_ISLNK, "it is a symbolic link"),
)


def open_regular(path: str | Path, *, follow_links: bool = True) -> BufferedReader:
    """Open a regular file for reading, at once.

    Raises ``OSError`` with a reason in ``strerror`` for anything else: nothing is waited for, and
    nothing is read from a device.
    """
    # Asked before: opening some devices is an act already.
    _require_regular(os.stat(path, follow_symlinks=follow_links), path)
    # Should it have become a FIFO meanwhile: without O_NONBLOCK its opening waits for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    try:
        _require_regular(os.fstat(descriptor), path)
        return open(path, "rb", opener=lambda _path, _flags: descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, most_bytes: int) -> bytes:
    """Return what a regular file holds; raises ``OSError`` as ``open_regular``, or if too large."""
    with open_regular(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        reason = f"it is larger than {most_bytes} bytes"
        raise OSError(errno.EFBIG, reason, str(path))
    return data


def create_new(path: str | Path) -> BinaryIO:
    """Open a new file for writing in place of whatever has its name.

    A link or a FIFO of that name is removed and never followed. Raises ``OSError``.
    """
    Path(path).unlink(missing_ok=True)
    return Path(path).open("xb")


def _require_regular(status: os.stat_result, path: str | Path) -> None:
    why = why_not_regular(status.st_mode)
    if why:
        code = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(code, f"{why}, not a regular file", str(path))


def why_not_regular(mode: int) -> str:
    """Say what kind of thing has this ``st_mode``; empty for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((kind for test, kind in _KINDS if test(mode)), "it is something else")
