"""Program lookup: by version, the current one, by path; and by the writer id inside a file."""

import hashlib
import re
from dataclasses import dataclass

from evocodec.champions.messages import Version
from evocodec.champions.repository import ChampionRepository
from evocodec.codec.program import Program
from evocodec.domain.errors import UserError
from evocodec.input_file import user_path
from evocodec.regular_files import read_regular

CURRENT = "current"

_VERSION = re.compile(r"v?([1-9]\d{0,8})(?:\+([0-9a-f]{4,40}))?", re.ASCII)
_WRITER = re.compile(r"v([1-9]\d{0,8})(?:\+([0-9a-f]{4,40}))?", re.ASCII)
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


def published_writer(writer_id: str, champions: ChampionRepository) -> Published | None:
    """Return the version that a file's writer id names, or None where it names no version.

    The id comes from an untrusted file: only ``v3`` and ``v3+1a2b3c4d`` are looked up, never a
    path. Raises UserError as ``resolve`` does.
    """
    match = _WRITER.fullmatch(writer_id)
    return None if match is None else _version(champions, int(match[1]), match[2] or "")


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
    path = user_path(text)
    try:
        data = read_regular(path, _MAX_PROGRAM_BYTES)
        program = data.decode("utf-8")
    except OSError as error:
        raise UserError(
            f"{text!r} is no version (v1, current) and no readable file: "
            f"{error.strerror or error}. "
            "Check the spelling and the current directory, or list versions with: "
            "evocodec champions list"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{text} is no program: it is not UTF-8 text") from error
    return Published(f"file+{hashlib.sha256(data).hexdigest()[:8]}", Program(program))
