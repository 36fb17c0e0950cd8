"""Any name of a file: clips keep it, the catalogue reads back, and grammar hides none."""

import os
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from evocodec.domain.errors import ConfigError, SourceError
from evocodec.video.clip_spec import ClipSource, format_clip, parse_clip, parse_stored_clip
from evocodec.video.test_sets import ClipSets, Entry

_GRAMMAR = st.sampled_from(
    ["@0-5", "@12:30", ":320x240", ":8x8+2+2", ",raw=16x16,25", ",fps=25", "@", "~", " ", "%d", "-"]
)
_ODD = st.one_of(_GRAMMAR, st.text(max_size=3), st.sampled_from(["\udcff", "\n", "\\", '"']))
NAMES = (
    st.lists(_ODD, min_size=1, max_size=5)
    .map("".join)
    .filter(lambda name: name not in (".", "..") and "/" not in name and "\0" not in name)
)


def encodable(name: str) -> bool:
    """Whether the file system takes it: bytes that are no UTF-8 have their own code points."""
    try:
        return 0 < len(os.fsencode(name)) < 256
    except UnicodeEncodeError:
        return False


@given(NAMES.filter(encodable))
@example("x@0-5")
@example("meeting@12:30")
@example("scale:320x240")
@example(" lead.mp4")
@example("a,raw=16x16,25")
def test_an_existing_file_wins_over_grammar(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        Path(path).touch()
        assert (parse_clip(path).path, parse_clip(path).frames) == (path, None)
        cut = parse_clip(f"{path}@2-4:32x16")
        assert (cut.path, cut.start_frame, cut.frames, cut.scale) == (path, 2, 2, (32, 16))


@given(
    NAMES, st.integers(0, 9), st.none() | st.integers(1, 9), st.none() | st.just((32, 16))
)  # fmt: skip
def test_what_is_written_for_a_clip_reads_back_as_that_clip_or_is_refused(
    name: str, start: int, frames: int | None, scale: tuple[int, int] | None
) -> None:
    source = ClipSource("clip", name, frames, start, scale=scale)
    try:
        text = format_clip(source)
    except SourceError:
        return
    found = parse_stored_clip(text)
    assert (found.path, found.start_frame, found.frames) == (name, start, frames)
    assert (found.scale, found.crop, found.raw, found.fps) == (scale, None, None, None)


@given(NAMES, st.text(), st.text(alphabet=st.characters()), st.floats(0, 1e9))
def test_the_catalogue_reads_back_whatever_is_in_it(
    source: str, origin: str, notes: str, spatial: float
) -> None:
    entry = Entry(
        *("mine", "film", source, "ab", 16, 16, "25", 3, spatial),
        origin=origin,
        notes=notes,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clips.toml"
        try:
            ClipSets(path).with_entry(entry).write()
        except (ConfigError, SourceError):
            assert not path.exists()
            return
        assert ClipSets.read(path).entries == (entry,)
