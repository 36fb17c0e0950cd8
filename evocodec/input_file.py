"""Input files: finds the regular file that a person means, or says why it cannot be read."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import Final

from evocodec.domain.errors import SourceError
from evocodec.regular_files import why_not_regular

_ADDRESS: Final = re.compile(r"(?:https?|ftp|rtmps?|rtsp|sftp)://", re.IGNORECASE)
_REASONS: Final = {
    errno.ENAMETOOLONG: "the name is longer than the file system allows; name another file",
    errno.ELOOP: "its symbolic links lead in a circle; name the file itself",
    errno.ENOTDIR: "something in its path is a file, not a folder; check the path",
    errno.EIO: "the disk does not give it (input/output error); check the disk",
    errno.ESTALE: "the file server has lost it; check the mount",
    errno.ENOMEM: "there is no memory to look it up; run it again with more",
}
_MADE_BY_THE_KERNEL: Final = ("/proc/", "/sys/")


def user_path(text: str) -> Path:
    """Return the path that a person typed: a file of just that name, else with ``~`` expanded."""
    if not text.startswith("~") or os.path.lexists(text):
        return Path(text)
    return Path(os.path.expanduser(text))  # leaves it as it is where there is no such home


def is_file_here(text: str) -> bool:
    """Whether something that is no folder has exactly this name."""
    return is_here(text) and not os.path.isdir(text)


def is_here(text: str) -> bool:
    """Whether something has exactly this name, a folder too."""
    try:
        return os.path.lexists(text)
    except (OSError, ValueError):
        return False


def input_file(text: str) -> Path:
    """Return the path of a regular, non-empty file that may be read.

    Raises:
        SourceError: there is none, with the reason and what to do.
    """
    path = user_path(text)
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(_why_not_there(text, path, error)) from error
    except ValueError as error:
        raise SourceError(f"{text!r} cannot be the name of a file: {error}; check it") from error
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{text}: is a directory; name one video file inside it")
    why = why_not_regular(status.st_mode)
    if why:
        raise SourceError(f"{text}: {why}, not a regular file; copy what it yields into a file")
    if status.st_size == 0:
        if os.path.realpath(path).startswith(_MADE_BY_THE_KERNEL):
            raise SourceError(
                f"{text}: the kernel makes it as it is read, it is no stored file; copy it into one"
            )
        raise SourceError(f"{text}: the file is empty (0 bytes); copy or download it again")
    if not os.access(path, os.R_OK):
        raise SourceError(
            f"{text}: there is no permission to read it (mode {stat.S_IMODE(status.st_mode):03o}); "
            f"run `chmod u+r` on it, or ask its owner"
        )
    return path


def _why_not_there(text: str, path: Path, error: OSError) -> str:
    reason = _why_no_name(text) or _REASONS.get(error.errno or 0)
    if reason is not None:
        return f"{text}: {reason}"
    if error.errno == errno.EACCES:
        folder = _closed_folder(path)
        return (
            f"{text}: the folder {folder} may not be entered (it lacks the permission x); run "
            "`chmod u+x` on that folder, or ask its owner"
        )
    if os.path.islink(path):
        return f"{text}: leads to {os.readlink(path)}, which is not there; check the link"
    return f"{text}: no such file; check the spelling and the current directory"


def _why_no_name(text: str) -> str | None:
    if text == "-":
        return "stdin is not read here, where video is read more than once; copy it into a file"
    if _ADDRESS.match(text):
        return "is an address, and nothing is downloaded; run `curl -LO` on it first"
    if text.startswith("file:"):
        return "no such file; name it without file://"
    return None


def _closed_folder(path: Path) -> Path:
    for folder in reversed(path.absolute().parents):
        if not os.access(folder, os.X_OK):
            return folder
    return path.parent
