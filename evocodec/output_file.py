"""Output files: the one way in which a file that a person named is written.

Before the work, ``output_file`` refuses what would destroy something or could not be written. The
work then goes into a new file beside the old one and takes its name at the end, so that there is
never half a file. What is no regular file (a FIFO, a device, stdout) is written through, and never
replaced.
"""

import errno
import io
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from evocodec.domain.errors import ReaderGone, UserError
from evocodec.file_kinds import HEAD_BYTES, FileKind, describe, is_video
from evocodec.input_file import user_path
from evocodec.regular_files import open_regular

CLOSED_STREAMS: Final[set[int]] = set()
"""Numbers of the standard streams that were closed when the process began."""

_STREAMS: Final = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR: Final = re.compile(r"/(?:dev|proc/(?:self|thread-self|\d+))/fd/(\d+)")
_TERMINALS: Final = frozenset({4, 5, *range(136, 144)})  # Linux: Documentation/admin-guide/devices
_REASONS: Final = {
    errno.ENOSPC: "there is no space left; free some, or name a file elsewhere",
    errno.EDQUOT: "your quota is used up; free some space, or name a file elsewhere",
    errno.EFBIG: "it would be larger than is allowed here (ulimit -f, or the file system); name a "
    "file elsewhere",
    errno.EROFS: "it lies on a read-only file system; name a file elsewhere",
    errno.EACCES: "there is no permission to; name a file elsewhere, or change that with chmod",
    errno.EPERM: "there is no permission to; name a file elsewhere",
    errno.ENAMETOOLONG: "the name is too long for the file system; name a shorter one",
    errno.ELOOP: "its symbolic links lead in a circle; name another file",
    errno.ENOTDIR: "something in its path is a file, not a folder; name another file",
    errno.EBADF: "it is closed, or open for reading only; name a file",
    errno.ENXIO: "there is no such device; name a file",
}


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file, stream or device that may be written, made by ``output_file``.

    ``name`` is as it was typed. ``place`` is the regular file itself, with links followed, which
    may not exist yet. ``descriptor`` is one of this process, such as 1 for stdout.
    """

    name: str
    kind: FileKind
    place: Path | None = None
    descriptor: int | None = None
    force: bool = False

    @property
    def is_stdout(self) -> bool:
        """Whether results and messages have to go elsewhere."""
        return self.descriptor == 1

    @property
    def is_stream(self) -> bool:
        """Whether what is written cannot be taken back: a pipe, a device, an open descriptor."""
        return self.place is None

    @contextmanager
    def writing(self, *, seekable: bool = False) -> Iterator[BinaryIO]:
        """Give a binary file to write into; it gets its place when all went well.

        With ``seekable`` it has a ``name`` that can be read, and may be begun again; what is meant
        for a stream is then copied there at the end. Raises ``UserError`` when it cannot be
        written, ``ReaderGone`` when nobody reads the pipe any more.
        """
        if self.place is not None:
            with self._replacing(self.place) as file:
                yield file
        elif seekable:
            with tempfile.NamedTemporaryFile(prefix="evocodec-") as held:
                with _opened(held.name, self.name) as spool:
                    yield spool
                with self._stream() as out, open_regular(held.name) as whole:
                    shutil.copyfileobj(whole, out)
        else:
            with self._stream() as out:
                yield out

    def write(self, data: bytes) -> None:
        """Write a whole file; raises as ``writing`` does."""
        with self.writing() as file:
            file.write(data)

    @contextmanager
    def _stream(self) -> Iterator[BinaryIO]:
        try:
            if self.descriptor is not None:
                fd = os.dup(self.descriptor)
            else:
                fd = os.open(self.name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise cannot_write(self.name, error) from error
        with _opened(fd, self.name) as file:
            yield file

    @contextmanager
    def _replacing(self, place: Path) -> Iterator[BinaryIO]:
        # What replaces a private file is as private before it has its place.
        part = _new_part(place.parent, self.name, 0o600 if place.exists() else 0o666)
        try:
            with _opened(part, self.name) as file:
                yield file
            self._take_place(part, place)
        except _KeptError as kept:
            part = Path()
            raise UserError(str(kept)) from kept.__cause__
        finally:
            if part != Path():
                part.unlink(missing_ok=True)

    def _take_place(self, part: Path, place: Path) -> None:
        """Give a finished file its name; raises ``_KeptError`` where it stays beside."""
        kept = f"the finished file is kept as {part}; move it to where you want it"
        try:
            # A long work may have passed since the check.
            _require_kind(self.name, place, self.kind, force=self.force)
            _like(part, place)
            part.replace(place)
        except UserError as error:
            what = str(error).partition(";")[0]
            raise _KeptError(f"{what}; {kept}") from error
        except OSError as error:
            # A file that is a mount point, as containers have them, can only be written through.
            if error.errno == errno.EBUSY and _copied(part, place):
                part.unlink(missing_ok=True)
                return
            raise _KeptError(f"cannot write {self.name}: {error.strerror}; {kept}") from error


class _KeptError(Exception):
    """A finished file that could not take its place, and is kept."""


class _Reporting(io.FileIO):
    """A file whose errors say which output they are about."""

    output: str = ""

    def write(self, data: Any) -> int:
        with _reporting(self.output):
            return super().write(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with _reporting(self.output):
            return super().seek(offset, whence)

    def truncate(self, size: int | None = None, /) -> int:
        with _reporting(self.output):
            return super().truncate(size)


def output_file(
    name: str | Path,
    kind: FileKind,
    *,
    inputs: Iterable[str | Path] = (),
    protected: Iterable[Path] = (),
    force: bool = False,
    new_folders: bool = False,
) -> OutputFile:
    """Check that ``name`` may be written with ``kind``, before any work is done for it.

    ``-`` is stdout. ``inputs`` are files that the same command reads, and ``protected`` files and
    folders that no command may write into by name. ``force`` replaces a file of another kind.
    With ``new_folders`` a folder that is not there is made.

    Raises:
        UserError: it would destroy an input or a file of another kind, or cannot be written.
    """
    name = str(name)
    if not name:
        raise UserError("the name of the output file is empty; name a file")
    descriptor = _descriptor(name)
    if descriptor is not None:
        _check_descriptor(name, descriptor, kind)
        return OutputFile(name, kind, descriptor=descriptor)
    try:
        status = os.stat(name)
    except FileNotFoundError:
        status = None
    except OSError as error:
        raise cannot_write(name, error) from error
    place = Path(os.path.realpath(name))
    if status is not None and not stat.S_ISREG(status.st_mode):
        _check_special(name, status, kind, force=force)
        return OutputFile(name, kind)
    if status is None and name.endswith("/"):
        raise UserError(f"{name} is the name of a folder; name a file in it")
    _require_apart(name, status, inputs)
    _require_unprotected(name, place, status, protected)
    _require_kind(name, place, kind, force=force)
    _require_room(name, place.parent, make=new_folders)
    return OutputFile(name, kind, place, force=force)


def require_different(outputs: Sequence[OutputFile]) -> None:
    """Refuse two outputs of one command that are one file; raises ``UserError``."""
    seen: dict[object, str] = {}
    for output in outputs:
        key = output.place or output.descriptor or os.path.realpath(output.name)
        if key in seen and str(key) != os.devnull:
            what = "stdout" if key == 1 else output.name
            raise UserError(f"two outputs would go to {what}; name two files")
        seen[key] = output.name


def is_stdout(name: str | Path) -> bool:
    """Whether an output of this name goes to stdout, where nothing else may be written then."""
    return _descriptor(str(name)) == 1


def cannot_write(name: str, error: OSError) -> UserError:
    """Return the error for a ``name`` that cannot be written."""
    name = "stdout" if name == "-" else name
    reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}; name another file")
    return UserError(f"cannot write {name}: {reason}")


def _descriptor(name: str) -> int | None:
    """Return the descriptor of this process that a name stands for, through links."""
    for _ in range(40):
        if name in _STREAMS:
            return _STREAMS[name]
        folder, base = os.path.split(name)
        whole = os.path.join(os.path.realpath(folder or "."), base)
        if whole in _STREAMS:
            return _STREAMS[whole]
        found = _DESCRIPTOR.fullmatch(whole)
        if found:
            own = whole.startswith(("/dev/", f"/proc/{os.getpid()}/"))
            return int(found[1]) if own else None
        try:
            name = os.path.join(os.path.dirname(whole), os.readlink(whole))
        except OSError:
            return None
    return None


def _check_descriptor(name: str, descriptor: int, kind: FileKind) -> None:
    import fcntl  # noqa: PLC0415 - for streams alone

    shown = "stdout" if descriptor == 1 else name
    if descriptor in CLOSED_STREAMS:
        raise UserError(f"cannot write {shown}: it is closed; name a file")
    try:
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError as error:
        raise cannot_write(shown, error) from error
    if access == os.O_RDONLY:
        raise cannot_write(shown, OSError(errno.EBADF, "not open for writing"))
    if kind.binary and os.isatty(descriptor):
        raise UserError(
            f"{kind.name} is no text, and {shown} is a terminal; name a file, or send it on: "
            f"- > FILE{kind.suffix}"
        )


def _check_special(name: str, status: os.stat_result, kind: FileKind, *, force: bool) -> None:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise UserError(f"{name} is a folder; name a file in it, such as {name}/out{kind.suffix}")
    if stat.S_ISSOCK(mode):
        raise UserError(f"{name} is a socket, which cannot be written as a file; name a file")
    if stat.S_ISBLK(mode) and not force:
        raise UserError(f"{name} is a disk; name a file, or overwrite the disk with --force")
    if not os.access(name, os.W_OK):
        raise cannot_write(name, OSError(errno.EACCES, "no permission"))
    if stat.S_ISCHR(mode) and kind.binary and os.major(status.st_rdev) in _TERMINALS:
        raise UserError(f"{kind.name} is no text, and {name} is a terminal; name a file")


def _require_apart(name: str, status: os.stat_result | None, inputs: Iterable[str | Path]) -> None:
    if status is None:
        return
    for given in inputs:
        same = False
        with suppress(OSError, ValueError):  # no file, or no name of one
            same = os.path.samestat(os.stat(user_path(str(given))), status)
        if same:
            what = "the input itself" if str(given) == name else f"the same file as {given}"
            raise UserError(f"{name} is {what}, which this command reads; name another output file")


def _require_unprotected(
    name: str, place: Path, status: os.stat_result | None, protected: Iterable[Path]
) -> None:
    for each in protected:
        same = place.is_relative_to(os.path.realpath(each))
        if status is not None and not same:
            with suppress(OSError):
                same = os.path.samestat(os.stat(each), status)
        if same:
            raise UserError(
                f"{name} belongs to the workspace ({each}), which evocodec keeps itself; name a "
                "file elsewhere"
            )


def _require_kind(name: str, place: Path, kind: FileKind, *, force: bool) -> None:
    """Refuse an existing file that we would not have written ourselves."""
    try:
        status = place.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_write(name, error) from error
    if force or not stat.S_ISREG(status.st_mode):
        return
    if not status.st_mode & 0o222:
        raise UserError(f"{name} is write-protected; name another file, or replace it with --force")
    try:
        with open_regular(place) as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        head = b"?"
    if not head or kind.is_ours(head):
        return
    hint = ""
    if is_video(head) and kind.suffix == ".evc":
        hint = ". A pattern such as *.mp4 names several inputs; this takes one IN and one OUT"
    elif kind.suffix == ".py":
        raise UserError(f"{name} exists already; use --force to replace it")
    raise UserError(
        f"{name} is there already: it is {describe(head)}, not {kind.name}{hint}; name another "
        "output file, or replace that one with --force"
    )


def _require_room(name: str, folder: Path, *, make: bool) -> None:
    """Refuse a folder that is not there, or in which no file can be made."""
    while make and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        there = "is a file" if folder.exists() else "is not there"
        raise UserError(
            f"cannot write {name}: the folder {folder} {there}; name another file, or make the "
            "folder first"
        )
    _new_part(folder, name, 0o600).unlink(missing_ok=True)


def _new_part(folder: Path, name: str, mode: int) -> Path:
    """Make the file that the work goes into; the umask takes bits of ``mode`` away."""
    # A name of its own: the output's may be as long as the file system allows.
    part = folder / f".evocodec-{uuid.uuid4().hex[:12]}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    except OSError as error:
        raise cannot_write(name, error) from error
    return part


def _like(part: Path, place: Path) -> None:
    """Give a new file the permission bits, and where allowed the owner, of the one it replaces."""
    try:
        old = place.stat()
    except FileNotFoundError:
        return
    if (old.st_uid, old.st_gid) != (part.stat().st_uid, part.stat().st_gid):
        with suppress(OSError):
            os.chown(part, old.st_uid, old.st_gid)
    part.chmod(stat.S_IMODE(old.st_mode) & 0o777)


def _copied(part: Path, place: Path) -> bool:
    try:
        with open_regular(part) as whole, place.open("r+b") as file:
            file.truncate()
            shutil.copyfileobj(whole, file)
    except OSError:
        return False
    return True


@contextmanager
def _opened(file: Path | str | int, output: str) -> Iterator[BinaryIO]:
    """Open for writing; all that is written is out at the end, or an error."""
    with _reporting(output):
        raw = _Reporting(file, "wb" if isinstance(file, int) else "r+b")
    raw.output = output
    buffered = io.BufferedWriter(raw)
    try:
        yield buffered
        buffered.flush()
    except BaseException:
        raw.close()  # what is buffered must not be written any more
        raise
    with _reporting(output):
        buffered.close()


@contextmanager
def _reporting(output: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone(f"nobody reads {output} any more") from error
    except OSError as error:
        raise cannot_write(output, error) from error
