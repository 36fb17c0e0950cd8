"""The file of test sets: what is written can be read, and mistakes in it are named."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evocodec.app.clip_sets import remove_clips, repair_clips
from evocodec.domain.errors import ConfigError, SourceError
from evocodec.video.data_options import DataOptions, data_options, use_options
from evocodec.video.test_sets import ClipSets, Entry, named_clips

FILM = Entry(
    set="mine",
    name="film",
    source="videos/film.mkv@0-32:320x180",
    sha256="ab" * 32,
    width=320,
    height=180,
    fps="30000/1001",
    frames=32,
    spatial=88.5,
    temporal=12.0,
    notes='says "hello"\\\nand\tmore \x7f é',
)
OTHER = Entry("other", "film", "s3://bucket/film.y4m", "cd" * 32, 16, 16, "25", 3)


@pytest.fixture(autouse=True)
def _options() -> Iterator[None]:
    before = data_options()
    yield
    use_options(before)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "clips.toml"
    test_sets = ClipSets(path).with_entry(FILM).with_entry(OTHER)
    test_sets.write()
    assert ClipSets.read(path) == test_sets
    assert not list(path.parent.glob("*.part"))


def test_paths_are_relative_to_the_file_and_s3_is_not(tmp_path: Path) -> None:
    test_sets = ClipSets(tmp_path / "sets" / "clips.toml", (FILM, OTHER))
    source = test_sets.source_of(FILM)
    assert source.path == str(tmp_path / "sets" / "videos" / "film.mkv")
    assert (source.name, source.start_frame, source.frames) == ("film", 0, 32)
    assert source.sha256 == FILM.sha256
    assert test_sets.relative(source) == FILM.source
    assert test_sets.source_of(OTHER).path == "s3://bucket/film.y4m"


def test_sets_and_single_clips_are_found_and_removed(tmp_path: Path) -> None:
    test_sets = ClipSets(tmp_path / "clips.toml", (FILM, OTHER))
    assert test_sets.of("mine") == test_sets.of("mine/film") == (FILM,)
    assert test_sets.without("mine").entries == (OTHER,)
    with pytest.raises(SourceError, match="did you mean @mine/film"):
        test_sets.of("mine/fim")
    with pytest.raises(ConfigError, match="is there already"):
        test_sets.with_entry(FILM)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "format None"),
        ("format = 2", "upgrade"),
        ("format = 1\nclip = 3", r"\[\[clip\]\] tables"),
        ("format = 1\n[[clip]]\nset = 'a'", "clip 1: .*missing"),
        ("format = 1\n[[clip]]\nset = 3", "set must be of type str"),
        ("format = 1\n[[clip]]\nsett = 'a'", "'sett' is not known"),
        ("format = ", "cannot read the clip sets"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "clips.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        ClipSets.read(path)


def test_a_name_that_could_not_be_typed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clips.toml"
    ClipSets(path, (FILM,)).write()
    path.write_text(path.read_text().replace('name = "film"', 'name = "a/b"'))
    with pytest.raises(ConfigError, match="cannot be the name of a clip"):
        ClipSets.read(path)


LOCKED = """\
format = 1

[[clip]]
set = "n"
name = "bad"
source = "../bad\\U0000dcff\\U0000dcfe.mp4"
sha256 = "ab"
width = 16
height = 16
fps = "25"
frames = 3

[[clip]]
set = "mine"
name = "film"
source = "../film.mkv"
sha256 = "ab"
width = 16
height = 16
fps = "25"
frames = 3
"""
"""What version 0.2 wrote for a name that is no UTF-8: TOML allows no such escape."""


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    path = tmp_path / "clips.toml"
    path.write_text(LOCKED)
    with pytest.raises(ConfigError, match="run `evocodec clips repair`"):
        ClipSets.read(path)
    use_options(DataOptions(tmp_path / "cache", 1 << 30, "", path))
    return path


def test_a_name_that_is_no_text_is_refused_at_once_and_locks_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bad\\udcff.mkv is no UTF-8 text.*rename the file"):
        ClipSets(tmp_path / "clips.toml").with_entry(replace(FILM, source="bad\udcff.mkv"))


def test_a_file_that_would_not_read_back_does_not_replace_the_good_one(tmp_path: Path) -> None:
    path = tmp_path / "clips.toml"
    ClipSets(path, (FILM,)).write()
    with pytest.raises(ConfigError):
        ClipSets(path, (FILM, replace(FILM, name="no name"))).write()
    assert ClipSets.read(path).entries == (FILM,)
    assert os.listdir(tmp_path) == ["clips.toml"]


def test_remove_takes_out_what_cannot_be_read(locked: Path) -> None:
    assert remove_clips("@n/bad") == ()
    assert [entry.full_name for entry in ClipSets.read(locked).entries] == ["@mine/film"]


def test_repair_keeps_what_can_be_read_and_the_old_file(locked: Path) -> None:
    done = repair_clips()
    assert ([entry.full_name for entry in done.kept], done.dropped) == (["@mine/film"], 1)
    assert done.copy is not None
    assert done.copy.read_text() == LOCKED
    assert ClipSets.read(locked).entries == done.kept
    assert repair_clips().copy is None


@pytest.mark.parametrize("damage", [b"\xff\xfe", b'format = 1\n[[clip]]\nset = "', b"[[[" * 9000])
def test_any_damage_can_be_repaired(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "clips.toml"
    path.write_bytes(damage)
    use_options(DataOptions(tmp_path / "cache", 1 << 30, "", path))
    with pytest.raises(ConfigError, match="clips repair"):
        ClipSets.read(path)
    repair_clips()
    assert ClipSets.read(path).entries == ()


def test_a_clip_that_is_named_by_its_path_needs_no_sets(locked: Path) -> None:
    (locked.parent / "base.mkv").write_bytes(b"x")
    (source,) = named_clips([str(locked.parent / "base.mkv")])
    assert source.path == str(locked.parent / "base.mkv")
