"""Program lookup: by version, the current one, by the writer id of a file, or by path."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from evocodec.champions.messages import Version
from evocodec.champions.repository import ChampionRepository
from evocodec.codec.program import Program
from evocodec.domain.errors import UserError

CURRENT = "current"

_VERSION = re.compile(r"v?([1-9]\d{0,8})(?:\+([0-9a-f]{4,40}))?")
_MAX_PROGRAM_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Published:
    """A program, and the writer id in .evc files that it writes.

    Writer ids are ``v3+1a2b3c4d`` (version and commit) or ``file+1a2b3c4d`` (SHA-256 of a file).
    """

    writer_id: str
    program: Program


def resolve(reference: str | int, champions: ChampionRepository) -> Published:
    """Return the program for ``3``, ``"v3"``, ``"v3+1a2b3c4d"``, ``"current"`` or a path.

    Raises UserError when there is none, or when the commit of a writer id is not that of our
    version: another repository's v3 is another codec.
    """
    text = str(reference)
    if text == CURRENT:
        return _current(champions)
    match = _VERSION.fullmatch(text)
    if match is not None:
        return _version(champions, int(match[1]), match[2] or "")
    return _file(text)


def _current(champions: ChampionRepository) -> Published:
    version = champions.current()
    if version is None:
        raise UserError(
            "no version has been adopted yet; adopt one with: evocodec run. A program that is "
            "not adopted can be named by its path"
        )
    return _published(champions, version)


def _version(champions: ChampionRepository, number: int, commit: str) -> Published:
    program = champions.program(number)
    (version,) = (v for v in champions.versions() if v.version == number)
    if not version.commit.startswith(commit):
        raise UserError(
            f"v{number}+{commit} is of another champion repository: here v{number} is commit "
            f"{version.commit[:8]}. Name that repository with --set champions.path=FOLDER"
        )
    return Published(version.writer_id, program)


def _published(champions: ChampionRepository, version: Version) -> Published:
    return Published(version.writer_id, champions.program(version.version))


def _file(text: str) -> Published:
    path = Path(text).expanduser()
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_PROGRAM_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise UserError(
            f"{text!r} is no version (v1, current) and no readable file: {error.strerror}. "
            "List versions with: evocodec champions list"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{text} is no program: it is not UTF-8 text") from error
    if len(data) > _MAX_PROGRAM_BYTES:
        raise UserError(f"{text} is no program: it is larger than {_MAX_PROGRAM_BYTES} bytes")
    return Published(f"file+{hashlib.sha256(data).hexdigest()[:8]}", Program(text))
