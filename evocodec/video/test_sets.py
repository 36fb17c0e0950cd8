"""Named test sets: a TOML file that lists clips, with the SHA-256 of their samples.

Paths in it are relative to its own folder, so that it can be committed or copied together with the
videos.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from evocodec.domain.errors import ConfigError, SourceError, UserError
from evocodec.input_file import is_file_here, user_path
from evocodec.regular_files import SETTINGS_BYTES, create_new, read_regular
from evocodec.video.clip_spec import ClipSource, format_clip, parse_clip, parse_stored_clip
from evocodec.video.clips import Clip, default_clips
from evocodec.video.data_options import S3_SCHEME, data_options

BUILT_IN = "builtin"
_FORMAT = 1
_TABLE = re.compile(r"^[ \t]*\[\[[ \t]*clip[ \t]*\]\][ \t]*$", re.MULTILINE)
_REPAIR = "run `evocodec clips repair`, which keeps what can be read; see docs/clips.md"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEAD = """\
# Test sets of Evocodec: use one with --clip @SET or --clip @SET/NAME.
# Paths are relative to this file. Written by `evocodec clips`; may be edited and committed.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip of a set; ``source`` is written as for ``--clip``; ``sha256`` is of its samples.

    ``spatial`` and ``temporal`` are the SI and TI of ITU-T P.910; ``colour_range`` and ``matrix``
    are what the file declares, or empty.
    """

    set: str
    name: str
    source: str
    sha256: str
    width: int
    height: int
    fps: str
    frames: int
    spatial: float = 0.0
    temporal: float = 0.0
    pixel_format: str = ""
    colour_range: str = ""
    matrix: str = ""
    origin: str = ""
    licence: str = ""
    notes: str = ""

    @property
    def full_name(self) -> str:
        """Name of this clip for ``--clip``."""
        return f"@{self.set}/{self.name}"


@dataclass(frozen=True, slots=True)
class ClipSets:
    """The sets of one file; a missing file is an empty one."""

    path: Path
    entries: tuple[Entry, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "ClipSets":
        """Read a file; raises ``ConfigError`` when it cannot be parsed."""
        try:
            data = read_regular(path, SETTINGS_BYTES)
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise ConfigError(
                f"cannot read the clip sets in {path}: {error.strerror or error}; remove it, or "
                "name another workspace with --workspace"
            ) from error
        return cls.parsed(data.decode("utf-8", "surrogateescape"), path)

    @classmethod
    def parsed(cls, text: str, path: Path) -> "ClipSets":
        """Parse the text of a file; raises as ``read``."""
        try:
            tree = tomllib.loads(text)
            text.encode("utf-8")
        except (UnicodeEncodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            why = "it is no UTF-8 text" if isinstance(error, UnicodeEncodeError) else error
            raise ConfigError(f"cannot read the clip sets in {path}: {why}; {_REPAIR}") from error
        if tree.get("format") != _FORMAT:
            raise ConfigError(
                f"{path}: format {tree.get('format')!r} where {_FORMAT} is understood; upgrade "
                "evocodec, or see docs/clips.md"
            )
        rows = tree.get("clip", [])
        if not isinstance(rows, list):
            raise ConfigError(f"{path}: 'clip' must be [[clip]] tables; {_REPAIR}")
        entries = tuple(_entry(row, f"{path}, clip {number}") for number, row in enumerate(rows, 1))
        test_sets = cls(path)
        for entry in entries:
            test_sets = test_sets.with_entry(entry)
        return test_sets

    @classmethod
    def readable(cls, path: Path) -> "tuple[ClipSets, tuple[str, ...]]":
        """Read what can be read of a damaged file: the sets, and the text of each broken table.

        Raises:
            ConfigError: the file cannot be opened.
        """
        with suppress(ConfigError):
            return cls.read(path), ()
        try:
            data = read_regular(path, SETTINGS_BYTES)
        except OSError as error:
            message = f"cannot read the clip sets in {path}: {error.strerror or error}; remove it"
            raise ConfigError(message) from error
        kept, broken = cls(path), []
        head, *tables = _TABLE.split(data.decode("utf-8", "surrogateescape"))
        for table in tables:
            try:
                (entry,) = cls.parsed(f"format = {_FORMAT}\n[[clip]]\n{table}", path).entries
                kept = kept.with_entry(entry)
            except (ConfigError, ValueError):
                broken.append(table)
        lines = [line.strip() for line in head.splitlines()]
        odd = [line for line in lines if line and not line.startswith(("#", "format"))]
        return kept, (*odd, *broken)

    def write(self) -> None:
        """Write the file whole or not at all, and only if it reads back as these sets.

        Raises:
            ConfigError: something in it cannot be written, such as a name that is no text.
        """
        for entry in self.entries:
            _require_text(entry)
        lines = [_HEAD, f"format = {_FORMAT}\n"]
        for entry in self.entries:
            lines.append("\n[[clip]]\n")
            for each in fields(entry):
                value = getattr(entry, each.name)
                if value not in ("", 0.0):
                    lines.append(f"{each.name} = {_toml(value)}\n")
        text = "".join(lines)
        if ClipSets.parsed(text, self.path) != self:
            raise ConfigError(
                f"{self.path} would not read back as it was meant, so nothing was written; choose "
                "plainer names, or report this"
            )
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with create_new(part) as file:
                file.write(text.encode("utf-8"))
            part.replace(self.path)
        except OSError as error:
            raise UserError(
                f"cannot write the clip sets to {self.path}: {error.strerror}; "
                "name another workspace with --workspace"
            ) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def sets(self) -> tuple[str, ...]:
        """Names of the sets, in the file's order."""
        return tuple(dict.fromkeys(entry.set for entry in self.entries))

    def of(self, name: str) -> tuple[Entry, ...]:
        """Return the clips of ``SET`` or ``SET/NAME``; raises ``SourceError`` if there are none."""
        wanted, _, clip = name.partition("/")
        found = tuple(
            entry for entry in self.entries if entry.set == wanted and clip in ("", entry.name)
        )
        if found:
            return found
        known = [BUILT_IN, *self.sets(), *(entry.full_name[1:] for entry in self.entries)]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean @{near[0]}?" if near else "see `evocodec clips list`"
        raise SourceError(f"there is no clip set or clip @{name} in {self.path}; {hint}")

    def with_entry(self, entry: Entry) -> "ClipSets":
        """Return the sets with one more clip.

        Raises ``ConfigError`` if the set has that name, or something in it is no UTF-8 text.
        """
        if any(other.full_name == entry.full_name for other in self.entries):
            raise ConfigError(
                f"{entry.full_name} is there already; choose another --name, or remove it with "
                f"`evocodec clips remove {entry.full_name}`"
            )
        _require_text(entry)
        return replace(self, entries=(*self.entries, entry))

    def without(self, name: str) -> "ClipSets":
        """Return the sets without ``SET`` or ``SET/NAME``; ``SourceError`` if there is none."""
        gone = self.of(name)
        return replace(self, entries=tuple(e for e in self.entries if e not in gone))

    def source_of(self, entry: Entry) -> ClipSource:
        """Return the source of an entry, with its path as seen from the current folder."""
        source = parse_stored_clip(entry.source)
        path = source.path
        if not path.startswith(S3_SCHEME):
            path = os.path.normpath(self.path.parent / path)
        return replace(
            source,
            name=entry.name,
            path=path,
            origin=entry.origin or path,
            licence=entry.licence or source.licence,
            sha256=entry.sha256,
        )

    def relative(self, source: ClipSource) -> str:
        """Return the source as it is written into the file."""
        path = source.path
        if not path.startswith(S3_SCHEME):
            absolute = os.path.abspath(user_path(path))
            path = os.path.relpath(absolute, os.path.abspath(self.path.parent))
        return format_clip(replace(source, path=path))


def test_sets_path() -> Path:
    """Return the file of the sets that this process is configured to use."""
    return data_options().test_sets or Path(os.devnull)


def current_test_sets() -> ClipSets:
    """Return the sets that this process is configured to use."""
    path = data_options().test_sets
    return ClipSets(Path("clips.toml")) if path is None else ClipSets.read(path)


def known_as(entry: Entry) -> tuple[str, str]:
    """Return the names by which a clip is removed: of its set, and its own."""
    return entry.set, entry.full_name[1:]


def is_table_of(table: str, ref: str) -> bool:
    """Whether the text of a broken table says that it is of ``SET`` or ``SET/NAME``."""
    said = {}
    for line in table.splitlines():
        key, _, value = line.partition("=")
        said[key.strip()] = value.strip().strip("\"'")
    return ref in (said.get("set"), f"{said.get('set')}/{said.get('name')}")


def named_clips(texts: Iterable[str]) -> tuple[ClipSource, ...]:
    """Resolve ``--clip`` and settings: ``@SET``, ``@SET/NAME``, the name of a clip, or a source.

    A name without a folder that is no file here may be the name of one clip in a set. Raises
    ``SourceError``.
    """
    return tuple(source for text in texts for source in _expand(text))


def check_name(name: str, what: str) -> None:
    """Raise ``ConfigError`` unless the name may be used in task names, files and ``--clip``."""
    if not _NAME.fullmatch(name) or name == BUILT_IN:
        reason = (
            "it is that of the built-in clips" if name == BUILT_IN else "letters, digits, . _ -"
        )
        raise ConfigError(f"{name!r} cannot be the name of a {what} ({reason}); choose another one")


def check_samples(clip: Clip) -> Clip:
    """Return the clip; raises ``SourceError`` when its samples differ from the recorded ones."""
    wanted = clip.source.sha256
    if wanted and wanted != clip.sha256:
        raise SourceError(
            f"{clip.name}: the samples in {clip.source.path} are not those that the set was made "
            f"with (SHA-256 {clip.sha256[:12]}… instead of {wanted[:12]}…); restore the file, or "
            "remove the clip and add it again"
        )
    return clip


def _expand(text: str) -> tuple[ClipSource, ...]:
    if is_file_here(text):
        return (parse_clip(text),)
    text = text.strip()
    if text.startswith("@"):
        wanted, _, name = text[1:].partition("/")
        if wanted == BUILT_IN:
            return _built_in(name)
        test_sets = current_test_sets()
        return tuple(test_sets.source_of(entry) for entry in test_sets.of(text[1:]))
    if _NAME.fullmatch(text) and not is_file_here(text):
        test_sets = current_test_sets()
        found = [entry for entry in test_sets.entries if entry.name == text]
        if len(found) > 1:
            names = ", ".join(entry.full_name for entry in found)
            raise SourceError(f"{text} is in several sets; choose one of {names}")
        if found:
            return (test_sets.source_of(found[0]),)
        if "." not in text and (known := [c for c in default_clips() if c.name == text]):
            return tuple(known)
    return (parse_clip(text),)


def _built_in(name: str) -> tuple[ClipSource, ...]:
    clips = default_clips()
    found = tuple(clip for clip in clips if name in ("", clip.name))
    if not found:
        known = ", ".join(clip.name for clip in clips)
        raise SourceError(f"there is no built-in clip {name!r}; choose one of {known}")
    return found


def _entry(row: object, where: str) -> Entry:
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: not a table; {_REPAIR}")
    values: dict[str, Any] = {}
    for each in fields(Entry):
        if each.name not in row:
            continue
        value = row[each.name]
        if each.type is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, each.type):  # type: ignore[arg-type]
            kind = getattr(each.type, "__name__", str(each.type))
            raise ConfigError(f"{where}: {each.name} must be of type {kind}; {_REPAIR}")
        values[each.name] = value
    unknown = sorted(row.keys() - values.keys())
    if unknown:
        raise ConfigError(f"{where}: {unknown[0]!r} is not known; {_REPAIR}")
    try:
        entry = Entry(**values)
        Fraction(entry.fps)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{where}: {error}; {_REPAIR}") from error
    check_name(entry.set, "set")
    check_name(entry.name, "clip")
    parse_stored_clip(entry.source)
    return entry


def _require_text(entry: Entry) -> None:
    for each in fields(entry):
        value = getattr(entry, each.name)
        if isinstance(value, str) and not _is_text(value):
            shown = value.encode("utf-8", "backslashreplace").decode()
            raise ConfigError(
                f"{shown} is no UTF-8 text, and the file of clip sets can hold nothing else; "
                "rename the file, or add a link to it"
            )


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _toml(value: str | int | float) -> str:
    if not isinstance(value, str):
        return str(value)
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"'
        + "".join(escapes.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in value)
        + '"'
    )
