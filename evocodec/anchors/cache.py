"""Anchor curves on disk: one JSON file per curve, named by a digest of all that decides it."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import RdCurve
from evocodec.regular_files import RECORD_BYTES, read_regular


@dataclass(frozen=True, slots=True)
class _Entry:
    identity: dict[str, str]
    curve: RdCurve


_ENTRY: TypeAdapter[_Entry] = TypeAdapter(_Entry)


def read_curve(folder: Path, identity: Mapping[str, str]) -> RdCurve | None:
    """Return the cached curve of this identity, or None when there is none that can be trusted.

    A file that is truncated, of another format or of another identity counts as absent: the curve
    is measured again, and replaces it.
    """
    try:
        entry = _ENTRY.validate_json(read_regular(_path(folder, identity), RECORD_BYTES))
    except (OSError, ValidationError):
        return None
    return entry.curve if entry.identity == dict(identity) else None


def write_curve(folder: Path, identity: Mapping[str, str], curve: RdCurve) -> None:
    """Store a curve; readers see either the old file or the complete new one.

    Raises ``InfrastructureFailure`` when the folder cannot be written.
    """
    content = _ENTRY.dump_json(_Entry(dict(identity), curve), indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(content)
            Path(name).replace(_path(folder, identity))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InfrastructureFailure(
            f"cannot keep an anchor curve in {folder}: {error}; free space there, or choose "
            "another cache folder"
        ) from error


def _path(folder: Path, identity: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()
    return folder / f"{identity['encoder']}-{digest[:32]}.json"
