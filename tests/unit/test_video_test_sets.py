"""The file of test sets: what is written can be read, and mistakes in it are named."""

from pathlib import Path

import pytest

from evocodec.domain.errors import ConfigError, SourceError
from evocodec.video.test_sets import ClipSets, Entry

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
