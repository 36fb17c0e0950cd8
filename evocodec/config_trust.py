"""Trust in settings files: which files a user has allowed to set everything.

A settings file in the current folder is read although the user did not name it. Until the user says
``evocodec trust`` it may set only what its sections leave to any file. What is trusted is a path
together with a content: a file that changes is asked for again.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from evocodec.config_sections import Section
from evocodec.domain.errors import ConfigError
from evocodec.regular_files import SETTINGS_BYTES, create_new, read_regular

STANDARD_STREAMS = ("", "stdout", "stderr")
_STORE = "trusted.json"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file as it was read once: its real path, its values and its SHA-256.

    ``folder`` is where its name lies, which a link may do elsewhere.
    """

    path: Path
    folder: Path
    tree: Mapping[str, Any]
    sha256: str


def read_settings_file(path: Path) -> SettingsFile:
    """Read a file; raises ``ConfigError`` unless it is a regular file with TOML in it.

    ``FileNotFoundError`` passes through.
    """
    try:
        data = read_regular(path, SETTINGS_BYTES)
        tree = tomllib.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"cannot read the settings file {path}: {error}"
        raise ConfigError(message) from error
    except OSError as error:
        message = f"cannot read the settings file {path}: {error.strerror or error}"
        raise ConfigError(message) from error
    sha256 = hashlib.sha256(data).hexdigest()
    return SettingsFile(Path(os.path.realpath(path)), path.absolute().parent, tree, sha256)


def user_folder() -> Path:
    """Return the folder of the user's own configuration; it need not exist."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification: a relative path is ignored. It would lie in the current folder.
    base = Path(configured) if os.path.isabs(configured) else Path(os.path.expanduser("~/.config"))
    return base / "evocodec"


def trusted_files() -> dict[str, str]:
    """Return the SHA-256 of each trusted file, by its real path."""
    try:
        found = json.loads(read_regular(user_folder() / _STORE, SETTINGS_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(path): str(sha256) for path, sha256 in found.items()}


def trust(file: SettingsFile) -> None:
    """Remember a file with its content; raises ``ConfigError`` when that cannot be written."""
    _write(trusted_files() | {str(file.path): file.sha256})


def revoke(path: Path) -> bool:
    """Forget a file; returns whether it was trusted."""
    known = trusted_files()
    found = known.pop(os.path.realpath(path), None)
    if found is not None:
        _write(known)
    return found is not None


def is_trusted(file: SettingsFile) -> bool:
    """Return whether the user has trusted this content, or keeps it in the own configuration."""
    own = Path(os.path.realpath(user_folder()))
    return file.path.parent == own or trusted_files().get(str(file.path)) == file.sha256


def protected_settings(file: SettingsFile, root: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of what a file sets and only a trusted one may; ``root`` is the tree."""
    folder = file.folder
    named = file.tree.get("workspace")
    workspace = folder / os.path.expanduser(named if isinstance(named, str) else ".evocodec")
    return tuple(_protected(file.tree, root, "", folder, workspace))


def _protected(
    tree: Mapping[str, Any], section: type[BaseModel], prefix: str, folder: Path, workspace: Path
) -> Iterator[str]:
    for name, value in tree.items():
        below = _section(section, name)
        if below is not None and isinstance(value, Mapping):
            yield from _protected(value, below, f"{prefix}{name}.", folder, workspace)
        elif not _allowed(section, name, value, folder, workspace):
            yield prefix + name


def _allowed(
    section: type[BaseModel], name: str, value: object, folder: Path, workspace: Path
) -> bool:
    if name not in section.model_fields or name in getattr(section, "ANY_FILE", ()):
        return True  # an unknown setting is refused with a message of its own
    if name in getattr(section, "OWN_FOLDER", ()):
        return _inside(value, folder, folder)
    if name in getattr(section, "OWN_WORKSPACE", ()):
        return value in STANDARD_STREAMS or _inside(value, folder, workspace)
    return False


def _inside(value: object, start: Path, folder: Path) -> bool:
    """Return whether a path, taken from ``start`` and with links followed, is in a folder."""
    if not isinstance(value, str) or "\0" in value:
        return False
    place = Path(os.path.realpath(start / os.path.expanduser(value)))
    return place.is_relative_to(os.path.realpath(folder))


def _section(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = section.model_fields.get(name)
    kind = field.annotation if field is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _write(known: Mapping[str, str]) -> None:
    folder = user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = folder / f"{_STORE}.{os.getpid()}"
        with create_new(partial) as file:
            file.write(json.dumps(dict(known), indent=1).encode() + b"\n")
        partial.replace(folder / _STORE)
    except OSError as error:
        raise ConfigError(
            f"cannot remember which settings files are trusted, in {folder}: "
            f"{error.strerror or error}; give the file with --config FILE each time"
        ) from error
