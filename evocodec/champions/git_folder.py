"""Git folder of our own making: takes objects and refs from a repository, and nothing that acts.

A repository may come from somebody else, in an archive or on a shared volume. Its ``config`` can
name programs (signatures, filters, remotes, helpers), and so can attributes, grafts and alternates.
No command of ours reads them: git is given a new folder whose configuration is ours, with links to
the objects, refs and reflogs of the repository alone.
"""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evocodec.domain.errors import UserError
from evocodec.regular_files import read_regular, why_not_regular

BRANCH = "refs/heads/main"

_HEAD = f"ref: {BRANCH}\n"
_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
"""
_HEAD_BYTES = 4096
_FOLDERS = ("objects", "refs", "logs")
_FILES = ("HEAD", "packed-refs", "index", "shallow", "evocodec.lock")
_LINKED = ("objects", "refs", "logs", "packed-refs", "shallow")
# They name other folders and servers to take objects from.
_ELSEWHERE = ("objects/info/alternates", "objects/info/http-alternates")


@contextmanager
def own_git_folder(repository: Path) -> Iterator[Path]:
    """Yield a git folder for one command on ``repository/.git``.

    Raises UserError when that has a link, a FIFO or a device where git would read or write.
    """
    theirs = repository / ".git"
    require_plain(theirs)
    with tempfile.TemporaryDirectory(prefix="evocodec-git-") as name:
        own = Path(name)
        (own / "config").write_text(_CONFIG)
        (own / "HEAD").write_text(_HEAD)
        for part in _LINKED:
            if part != "shallow" or (theirs / part).exists():
                (own / part).symlink_to(theirs / part)
        yield own


def create(repository: Path) -> None:
    """Make what a repository has to have; what exists already is kept as it is."""
    folder = repository / ".git"
    for part in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "logs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, text in (("config", _CONFIG), ("HEAD", _HEAD)):
        if not (folder / name).exists():
            (folder / name).write_text(text)


def exists(repository: Path) -> bool:
    """Return whether there is a repository; a killed initialisation leaves a part of one.

    Raises UserError for a ``.git`` that leads elsewhere.
    """
    folder = repository / ".git"
    _require(folder, stat.S_ISDIR, "a folder")
    return all(os.path.lexists(folder / name) for name in ("HEAD", "objects", "refs"))


def shows_branch(repository: Path) -> bool:
    """Return whether the work tree shows our branch, by the repository's own HEAD."""
    try:
        head = read_regular(repository / ".git" / "HEAD", _HEAD_BYTES)
    except OSError:
        return False
    return head.decode("utf-8", "replace").strip() == _HEAD.strip()


def require_plain(folder: Path) -> None:
    """Raise UserError unless what we use of a ``.git`` folder is plain files and folders."""
    _require(folder, stat.S_ISDIR, "a folder")
    for name in _FILES:
        _require(folder / name, stat.S_ISREG, "a regular file")
    for name in _ELSEWHERE:
        if os.path.lexists(folder / name):
            raise UserError(
                f"{folder / name} names other places to take objects from, and no repository of "
                f"versions needs that. Copy {folder.parent} with `git clone --no-local`, and "
                "choose the copy with --set champions.path=FOLDER"
            )
    for name in _FOLDERS:
        _require(folder / name, stat.S_ISDIR, "a folder")
        for place, folders, files in os.walk(folder / name):
            for entry in folders:
                _require(Path(place, entry), stat.S_ISDIR, "a folder")
            for entry in files:
                _require(Path(place, entry), stat.S_ISREG, "a regular file")


def _require(path: Path, is_kind: Callable[[int], bool], expected: str) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(
            f"{path} cannot be looked at: {error.strerror}; check its permissions"
        ) from error
    if not is_kind(mode):
        what = why_not_regular(mode) or "it is a regular file"
        raise UserError(
            f"{path} is not {expected}: {what}. git would follow it; remove it, or choose another "
            "repository with --set champions.path=FOLDER"
        )
