"""Opening what people name: regular files only, at once, and no link in the place of an output."""

import os
from pathlib import Path

import pytest

from evocodec.regular_files import create_new, open_regular, read_regular


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"1234")
    assert read_regular(file, 4) == b"1234"
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_regular(file, 3)


def test_a_link_to_a_file_is_followed_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 4) == b"1"
    with pytest.raises(OSError, match="it is a symbolic link"):
        open_regular(tmp_path / "link", follow_links=False)


@pytest.mark.parametrize("kind", ["a FIFO", "a device", "a folder"])
def test_anything_else_is_refused_at_once_by_its_kind(tmp_path: Path, kind: str) -> None:
    odd = tmp_path / "odd"
    match kind:
        case "a FIFO":
            os.mkfifo(odd)
        case "a device":
            odd.symlink_to("/dev/zero")
        case _:
            odd.mkdir()
    with pytest.raises(OSError, match=f"it is {kind}"):
        open_regular(odd)


def test_a_new_file_takes_the_place_of_a_link_and_leaves_its_target(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep me")
    (tmp_path / "out").symlink_to("precious")
    with create_new(tmp_path / "out") as file:
        file.write(b"new")
    assert (tmp_path / "precious").read_text() == "keep me"
    assert (tmp_path / "out").read_text() == "new"
