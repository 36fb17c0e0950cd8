"""What a job may know of the file system: the trees, the way to them, and nothing else."""

import errno
import gc
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evocodec.isolation.virtual_fs import VirtualFs, mode_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    tree = tmp_path / "way" / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "file").write_text("in the tree")
    (tree / "folder" / "deep").write_text("deeper")
    (tree / "to-file").symlink_to("file")
    (tree / "to-folder").symlink_to("../tree/folder/")
    (tree / "out").symlink_to("../outside")
    (tree / "round").symlink_to("round")
    (tmp_path / "way" / "outside").write_text("secret")
    (tmp_path / "link").symlink_to("way/tree")
    return tmp_path


@pytest.fixture(name="view")
def _view(place: Path) -> VirtualFs:
    trees, links = [str(place / "way" / "tree")], {str(place / "link"): "way/tree"}
    return VirtualFs(trees, {str(place / "way"): 7_000_000_001}, links)


def error_of(view: VirtualFs, path: str) -> str:
    try:
        with view.find(os.fsencode(path)):
            return "none"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@pytest.mark.parametrize(
    "path",
    [
        *("way/tree/file", "way/tree/to-file", "link/file", "link/to-file", "way//tree/./file"),
        *(
            "way/tree/folder/../file",
            "link/to-folder/../file",
            "way/../link/folder/../../tree/file",
        ),
    ],
)
def test_every_way_to_a_file_in_the_tree_leads_there(
    view: VirtualFs, place: Path, path: str
) -> None:
    with view.find(os.fsencode(place / path), os.O_RDONLY) as found:
        assert found.path == os.fsencode(place / "way/tree/file")
        assert os.read(found.fd, 99) == b"in the tree"


@pytest.mark.parametrize(
    "path",
    [
        *("way/outside", "way/missing", "way/tree/out", "link/out", "way/tree/../outside"),
        *("way/tree/../outside/../tree/file", "missing/../way/tree/file", "way/tree/missing"),
    ],
)
def test_outside_and_missing_are_the_same(view: VirtualFs, place: Path, path: str) -> None:
    assert error_of(view, f"{place}/{path}") == "ENOENT"


def test_what_is_wrong_inside_is_said_as_the_kernel_says_it(view: VirtualFs, place: Path) -> None:
    for path in ("file/", "file/.", "file/..", "file/x", "to-file/"):
        assert error_of(view, f"{place}/way/tree/{path}") == "ENOTDIR"
    assert error_of(view, f"{place}/way/tree/round") == "ELOOP"
    assert error_of(view, f"{place}/way/tree/{'x' * 300}") == "ENAMETOOLONG"


def test_a_link_can_be_looked_at_itself(view: VirtualFs, place: Path) -> None:
    for path in ("link", "way/tree/to-file"):
        with view.find(os.fsencode(place / path), follow=False) as found:
            assert stat.S_ISLNK(mode_of(found.status))
    with view.find(os.fsencode(place / "link") + b"/", follow=False) as found:
        assert stat.S_ISDIR(mode_of(found.status))


def test_folders_on_the_way_show_nothing_that_changes(view: VirtualFs, place: Path) -> None:
    with view.find(os.fsencode(place / "way")) as before:
        assert before.fd == -1
    (place / "way" / "new").mkdir()
    with view.find(os.fsencode(place / "way")) as after:
        assert after == before


def test_reading_a_file_leaves_no_trace_in_what_is_shown(view: VirtualFs, place: Path) -> None:
    file = place / "way" / "tree" / "file"
    with view.find(os.fsencode(file)) as before:
        os.utime(file, ns=(1, file.stat().st_mtime_ns))
    with view.find(os.fsencode(file)) as after:
        skip = slice(104, 120)  # the time of change, which utime itself changes
        assert [*after.status][: skip.start] == [*before.status][: skip.start]


@pytest.fixture(autouse=True)
def _no_descriptor_is_left_open() -> Iterator[None]:
    gc.collect()  # what other tests left is closed before, and not between
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before
