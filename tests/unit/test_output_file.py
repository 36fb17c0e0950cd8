"""The one writer: nothing is destroyed that was not named for it, and no half file is left."""

import errno
import os
import resource
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from evocodec.domain.errors import ReaderGone, UserError
from evocodec.file_kinds import EVC, PAGE, PNG, PROGRAM, Y4M, csv_kind, png_with_mark
from evocodec.output_file import is_stdout, output_file, require_different

OURS = b"EVC\x01 old"
VIDEO = b"\0\0\0\x20ftypisom" + b"precious" * 100


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files() -> list[str]:
    return sorted(os.listdir("."))


def write(name: str, *, force: bool = False) -> None:
    output_file(name, EVC, force=force).write(b"EVC\x01 new")


def test_a_file_of_another_kind_is_kept_unless_forced() -> None:
    Path("b.mp4").write_bytes(VIDEO)
    with pytest.raises(UserError, match=r"it is an MP4 or MOV video.*\*\.mp4 names.*--force"):
        write("b.mp4")
    assert Path("b.mp4").read_bytes() == VIDEO
    write("b.mp4", force=True)
    assert Path("b.mp4").read_bytes() == b"EVC\x01 new"
    assert files() == ["b.mp4"]


@pytest.mark.parametrize(
    ("kind", "ours", "foreign"),
    [
        (EVC, OURS, b"EVC notes of mine"),
        (Y4M, b"YUV4MPEG2 W2 H2 F1:1 XEVOCODEC\nFRAME\n", b"YUV4MPEG2 W2 H2 F1:1\nFRAME\n"),
        (PAGE, b"<!DOCTYPE html><title>x - Evocodec report</title>", b"<!DOCTYPE html>"),
        (csv_kind(("a", "b")), b"a,b\n1,2\n", b"b,a\n"),
        (PNG, png_with_mark(b"\x89PNG\r\n\x1a\n" + bytes(99)), b"\x89PNG\r\n\x1a\n" + bytes(99)),
    ],
)  # fmt: skip
def test_what_a_command_wrote_itself_is_replaced_and_what_others_wrote_is_not(
    kind: object, ours: bytes, foreign: bytes
) -> None:
    assert kind is not None
    for content in (ours, b""):
        Path("out").write_bytes(content)
        output_file("out", kind).write(b"new")  # type: ignore[arg-type]
        assert Path("out").read_bytes() == b"new"
    Path("out").write_bytes(foreign)
    with pytest.raises(UserError, match="--force"):
        output_file("out", kind)  # type: ignore[arg-type]
    assert Path("out").read_bytes() == foreign


def test_a_program_is_never_replaced_without_force_nor_a_write_protected_file() -> None:
    Path("codec.py").write_text("mine")
    with pytest.raises(UserError, match="exists already; use --force"):
        output_file("codec.py", PROGRAM)
    Path("a.evc").write_bytes(OURS)
    Path("a.evc").chmod(0o444)
    with pytest.raises(UserError, match="write-protected"):
        write("a.evc")


@pytest.mark.parametrize("name", ["in.mp4", "./in.mp4", "link", "hard", "folder/../in.mp4"])
def test_an_input_is_never_an_output(name: str) -> None:
    Path("in.mp4").write_bytes(OURS)
    Path("link").symlink_to("in.mp4")
    Path("hard").hardlink_to("in.mp4")
    Path("folder").mkdir()
    with pytest.raises(UserError, match=r"which this command reads"):
        output_file(name, EVC, inputs=["in.mp4"], force=True)
    with pytest.raises(UserError, match=r"which this command reads"):
        output_file("in.mp4", EVC, inputs=[name], force=True)


def test_what_the_workspace_keeps_is_protected_with_all_its_links(folder: Path) -> None:
    kept = [folder / "w" / "ledger", folder / "w" / "champions"]
    kept[1].mkdir(parents=True)
    kept[0].write_text("")
    Path("hard").hardlink_to(kept[0])
    Path("into").symlink_to(kept[1])
    for name in ("w/ledger", "hard", "w/champions/codec.py", "into/x", "w/champions/deep/x"):
        with pytest.raises(UserError, match="belongs to the workspace"):
            output_file(name, EVC, protected=kept, force=True)
    output_file("w/out.evc", EVC, protected=kept)


def test_two_outputs_are_two_files() -> None:
    Path("link").symlink_to("a")
    pair = [output_file("a", EVC), output_file("link", PAGE)]
    with pytest.raises(UserError, match="two outputs would go to"):
        require_different(pair)
    require_different([output_file("a", EVC), output_file("b", EVC)])
    require_different([output_file("/dev/null", EVC), output_file("/dev/null", PAGE)])


def test_a_link_stays_and_its_target_is_replaced() -> None:
    Path("target.evc").write_bytes(OURS)
    Path("out.evc").symlink_to("target.evc")
    Path("new.evc").symlink_to("made.evc")
    write("out.evc")
    write("new.evc")
    assert os.readlink("out.evc") == "target.evc"
    assert Path("target.evc").read_bytes() == Path("made.evc").read_bytes() == b"EVC\x01 new"


def test_permission_bits_are_those_of_the_replaced_file_or_of_the_umask() -> None:
    Path("old.evc").write_bytes(OURS)
    Path("old.evc").chmod(0o640)
    before = os.umask(0o027)
    try:
        write("old.evc")
        write("new.evc")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("old.evc").st_mode) == 0o640
    assert stat.S_IMODE(os.stat("new.evc").st_mode) == 0o640
    Path("old.evc").chmod(0o604)
    write("old.evc")
    assert stat.S_IMODE(os.stat("old.evc").st_mode) == 0o604


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("folder", "is a folder; name a file in it"),
        ("folder/", "is a folder"),
        ("nowhere/", "the name of a folder"),
        ("nowhere/a.evc", "the folder .*nowhere is not there"),
        ("file/a.evc", "a file, not a folder"),
        ("n" * 256, "name is too long"),
        ("circle", "lead in a circle"),
        ("", "is empty"),
        ("/proc/a.evc", "cannot write /proc/a.evc"),
        ("/dev/fd/99", "closed, or open for reading only"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(name: str, why: str) -> None:
    Path("folder").mkdir()
    Path("file").write_text("")
    Path("circle").symlink_to("circle")
    before = files()
    with pytest.raises(UserError, match=why):
        output_file(name, EVC)
    assert files() == before


def test_a_name_as_long_as_the_file_system_allows_works() -> None:
    for name in ("n" * 255, "-dash", " lead", "new\nline", "~tilde", "%d{}[", "bad\udcff"):
        write(name)
        assert Path(name).read_bytes() == b"EVC\x01 new"


def test_a_fifo_and_a_device_are_written_through_and_stay() -> None:
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    write("pipe")
    reader.join()
    assert got == [b"EVC\x01 new"]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    Path("null").symlink_to("/dev/null")
    write("null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.readlink("null") == "/dev/null"
    with pytest.raises(UserError, match="there is no space left"):
        write("/dev/full")
    assert files() == ["null", "pipe"]


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_stdout_is_stdout_by_any_name_and_a_file_called_dash_is_a_file(name: str) -> None:
    Path("link").symlink_to("/dev/stdout")
    Path("out").write_bytes(b"kept ")
    before = os.dup(1)
    # Appended to, as the shell opened it: opened anew, it would be cut.
    with Path("out").open("ab") as out:
        os.dup2(out.fileno(), 1)
        try:
            output_file(name, EVC).write(b"EVC")
            output_file("./-", EVC).write(b"EVC")
        finally:
            os.dup2(before, 1)
            os.close(before)
    assert Path("out").read_bytes() == b"kept EVC"
    assert Path("./-").read_bytes() == b"EVC"
    assert is_stdout(name)
    assert not is_stdout("./-")


def test_what_a_stream_gets_can_be_read_back_and_begun_anew_before() -> None:
    with Path("out").open("wb") as out:
        output = output_file(f"/dev/fd/{out.fileno()}", EVC)
        with output.writing(seekable=True) as file:
            file.write(b"wrong")
            file.seek(0)
            file.truncate()
            file.write(b"right")
            file.flush()
            assert Path(file.name).read_bytes() == b"right"
    assert Path("out").read_bytes() == b"right"


def test_binary_is_not_written_to_a_terminal() -> None:
    ours, theirs = os.openpty()
    try:
        with pytest.raises(UserError, match=r"is a terminal; name a file, or send it on"):
            output_file(f"/dev/fd/{theirs}", EVC)
        with pytest.raises(UserError, match="is a terminal"):
            output_file(os.ttyname(theirs), EVC)
        output_file(f"/dev/fd/{theirs}", PAGE)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_reader_that_left_is_no_error_of_writing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(ReaderGone):
        output_file(f"/dev/fd/{writing}", EVC).write(b"EVC")
    os.close(writing)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_work_that_fails_leaves_the_old_file_and_no_part(error: type[BaseException]) -> None:
    Path("a.evc").write_bytes(OURS)
    with pytest.raises(error), output_file("a.evc", EVC).writing() as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert Path("a.evc").read_bytes() == OURS
    assert files() == ["a.evc"]


def in_the_way() -> None:
    Path("a.evc").mkdir()


def of_another_kind() -> None:
    Path("a.evc").write_bytes(VIDEO)


@pytest.mark.parametrize("happens", [in_the_way, of_another_kind])
def test_a_finished_file_that_cannot_take_its_place_is_kept_and_named(
    happens: Callable[[], None],
) -> None:
    output = output_file("a.evc", EVC)
    kept = pytest.raises(UserError, match="the finished file is kept as")
    with kept as told, output.writing() as file:
        file.write(b"hours of work")
        happens()
    (part,) = [name for name in files() if name != "a.evc"]
    assert part in str(told.value)
    assert Path(part).read_bytes() == b"hours of work"
    assert Path("a.evc").is_dir() or Path("a.evc").read_bytes() == VIDEO


def test_a_full_disk_is_told_and_leaves_nothing() -> None:
    """A file size limit stands for the disk: both are errors of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="larger than is allowed"):
            output_file("a.evc", EVC).write(b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files() == []


def test_a_descriptor_that_is_only_read_is_refused() -> None:
    Path("a").write_text("")
    with Path("a").open("rb") as file, pytest.raises(UserError, match="for reading only"):
        output_file(f"/dev/fd/{file.fileno()}", EVC)


def test_new_folders_are_made_only_when_there_is_something_to_write() -> None:
    output = output_file("new/er/a.html", PAGE, new_folders=True)
    assert files() == []
    output.write(b"x")
    assert Path("new/er/a.html").read_bytes() == b"x"


def test_a_mount_point_is_written_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container's /etc/hosts: the kernel refuses to rename over it, with EBUSY."""
    Path("a.evc").write_bytes(OURS)

    def busy(_self: Path, _target: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    write("a.evc")
    assert Path("a.evc").read_bytes() == b"EVC\x01 new"
    assert files() == ["a.evc"]


def test_a_socket_and_a_disk_are_refused() -> None:
    os.mknod("socket", 0o600 | stat.S_IFSOCK)
    with pytest.raises(UserError, match="is a socket"):
        output_file("socket", EVC)
    if os.getuid() == 0:
        os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(7, 250))
        with pytest.raises(UserError, match="is a disk"):
            output_file("disk", EVC)
        os.unlink("disk")
