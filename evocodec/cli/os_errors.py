"""Errors of the operating system that reach the edge of the process, in words.

Parts tell of what they open themselves. This is the net below them: a mistake or a state of the
machine that a person can change is told as such, and never as something unexpected.
"""

import errno
import os
import sqlite3
from typing import Final

from evocodec.domain.errors import UserError

_WORDS: Final = {
    errno.EACCES: "there is no permission for it; check its permissions and those of its folders",
    errno.EPERM: "the system does not allow it; check its permissions and its owner",
    errno.EROFS: "it lies on a read-only file system; name a place that can be written",
    errno.ENOSPC: "there is no space left there; free some, or name another place",
    errno.EDQUOT: "your quota is used up there; free some space, or name another place",
    errno.EFBIG: "it would be larger than is allowed there; check ulimit -f, or name another place",
    errno.ENAMETOOLONG: "the name is too long for the file system; name a shorter one",
    errno.ELOOP: "its symbolic links lead in a circle; name the file itself",
    errno.ENOTDIR: "something in its path is a file, not a folder; check the path",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOENT: "it is not there; check the spelling and the current folder",
    errno.EEXIST: "something is there already; name another one",
    errno.ENXIO: "there is nobody at the other end of it; name a regular file",
    errno.EMFILE: "too many files are open in this process; run `ulimit -n 4096` first",
    errno.ENFILE: "too many files are open on this machine; check what keeps them open",
    errno.EADDRINUSE: "that port is in use; choose another one",
}
_STATES: Final = (
    "readonly database",
    "disk is full",
    "unable to open",
    "disk i/o error",
    "not a database",
    "malformed",
    "locked",
)


def as_user_error(error: BaseException) -> UserError | None:
    """Return what a person can do about an error that nobody has translated; None for a bug."""
    if isinstance(error, OSError):
        return _of_os_error(error)
    if isinstance(error, UnicodeError):
        return UserError(
            f"a name or a text has something that is no UTF-8 and cannot be used here ({error}); "
            "rename the file, or name a link to it"
        )
    if isinstance(error, sqlite3.Error) and any(state in str(error).lower() for state in _STATES):
        return UserError(
            f"the ledger of the workspace cannot be used: {error}; check the folder's permissions "
            "and the space that is left, or name another workspace with --workspace"
        )
    return None


def _of_os_error(error: OSError) -> UserError | None:
    if isinstance(error, FileNotFoundError) and not _current_folder_is_there():
        return UserError("the current folder was removed; change to one that is there: cd FOLDER")
    words = _WORDS.get(error.errno or 0)
    if words is None:
        return None
    name = error.filename
    if name is None:
        return UserError(f"something could not be read or written: {words}")
    shown = os.fsdecode(name) if isinstance(name, bytes) else name
    return UserError(f"cannot use {shown}: {words}")


def _current_folder_is_there() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True
