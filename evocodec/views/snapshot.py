"""Snapshot of a long run's views: a file that spares a look the events it has seen before.

The ledger decides. A snapshot says which event it reaches, and is used only if the ledger still has
that event at that place; what was recorded later is read from the ledger. One that is missing,
damaged, of other code or of another ledger is left aside, and the run is read from its beginning.
"""

import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import PydanticSerializationError

from evocodec import __version__
from evocodec.domain.events import Event
from evocodec.store.event_json import event_from_json, event_to_json
from evocodec.store.ledger import Ledger
from evocodec.views.bulk import collector_paused
from evocodec.views.candidate import CandidateView
from evocodec.views.progress import Progress, ProgressFacts
from evocodec.views.run_state import RunFacts

WORTH_EVENTS: Final = 5000
"""So many events take half a second to read; a run with fewer leaves no snapshot behind."""

_log = logging.getLogger(__name__)
_SAFE_NAME = re.compile(r"\w[\w.-]{0,120}", re.ASCII)
_NUMBERS = ConfigDict(ser_json_inf_nan="strings")
_PACKAGE = Path(__file__).parents[1]
_CODE = ("domain", "store", "views")


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The content of a file; ``last`` and ``recent`` are events as the ledger writes them.

    ``last`` is the newest event that is in it, at ``position``.
    """

    position: int
    last: str
    run: RunFacts
    since: Mapping[str, tuple[str, float]]
    left: tuple[str, ...]
    points_before: int
    recent: tuple[str, ...]


class Snapshots:
    """Snapshots of one ledger's runs, a file each in ``folder``, which need not be writable.

    ``worth``: how many events must have been read from the ledger for a new one.
    """

    def __init__(self, folder: Path, *, worth: int = WORTH_EVENTS) -> None:
        self._folder = folder
        self._worth = worth

    def follow(self, ledger: Ledger, run_id: str, progress: Progress) -> int:
        """Take a run into ``progress``, which is new; return the position of its last event.

        Raises as ``Ledger.events``; never because of a snapshot.
        """
        path = self._folder / f"{run_id}.json" if _SAFE_NAME.fullmatch(run_id) else None
        with collector_paused():
            known = _read(path) if path is not None else None
            if known is None or not _is_of(known, ledger, run_id):
                known = None
            else:
                progress.restore(_facts(known))
            reached, count = (known.position if known else 0), 0
            last: Event | None = None
            for position, event in ledger.events(run_id, after=reached):
                progress.apply(event)
                reached, last, count = position, event, count + 1
            if path is not None and last is not None and count >= self._worth:
                _write(path, _snapshot(reached, last, progress.facts()))
            return reached


def _is_of(known: _Snapshot, ledger: Ledger, run_id: str) -> bool:
    """Whether the ledger still has the newest event of a snapshot where the snapshot saw it."""
    found = next(ledger.events(run_id, after=known.position - 1), None)
    return found == (known.position, event_from_json(known.last))


def _snapshot(position: int, last: Event, facts: ProgressFacts) -> _Snapshot:
    return _Snapshot(
        position,
        event_to_json(last),
        facts.run,
        facts.since,
        facts.left,
        facts.points_before,
        tuple(map(event_to_json, facts.recent)),
    )


def _facts(known: _Snapshot) -> ProgressFacts:
    recent = (event_from_json(text) for text in known.recent)
    return ProgressFacts(
        known.run,
        known.since,
        known.left,
        known.points_before,
        tuple(event for event in recent if event is not None),
    )


def _read(path: Path) -> _Snapshot | None:
    try:
        with path.open("rb") as file:
            head, body = file.readline(), file.read()
        if head != _head(body):
            return None
        return _parsed(BytesIO(body))
    except (OSError, ValueError, StopIteration) as error:  # a ValidationError is a ValueError
        _log.debug("no snapshot in %s: %s", path, error)
        return None


def _parsed(lines: Iterator[bytes]) -> _Snapshot:
    """Read the run, and a line for each candidate: at once they would take twice the memory."""
    (known,) = _adapter().validate_json(next(lines))
    candidates = tuple(_candidate_adapter().validate_json(line)[0] for line in lines)
    return _with_candidates(known, candidates)


def _with_candidates(known: _Snapshot, candidates: tuple[CandidateView, ...]) -> _Snapshot:
    view = replace(known.run.view, candidates=candidates)
    return replace(known, run=replace(known.run, view=view))


def _content(snapshot: _Snapshot) -> bytes:
    lines = [_adapter().dump_json((_with_candidates(snapshot, ()),))]
    dump = _candidate_adapter().dump_json
    lines += [dump((candidate,)) for candidate in snapshot.run.view.candidates]
    return b"\n".join(lines)


def _write(path: Path, snapshot: _Snapshot) -> None:
    """Replace the file as a whole; where that is not allowed there is none, and nothing is lost."""
    try:
        body = _content(snapshot)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            beside.write_bytes(_head(body) + body)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, PydanticSerializationError) as error:
        _log.debug("no snapshot is kept in %s: %s", path, error)


def _head(body: bytes) -> bytes:
    """First line of the file: what wrote it, and what follows."""
    return f"views of {_code_digest()}, content {hashlib.sha256(body).hexdigest()}\n".encode()


def code_files() -> list[Path]:
    """Return the files on which a view depends: what events mean, how they are read, the folds."""
    return sorted(file for room in _CODE for file in (_PACKAGE / room).rglob("*.py"))


@cache
def _code_digest() -> str:
    """Digest of the code that views are made by: views of other code are made anew."""
    digest = hashlib.sha256(__version__.encode())
    for file in code_files():
        digest.update(f"{file.relative_to(_PACKAGE)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


@cache
def _adapter() -> TypeAdapter[tuple[_Snapshot]]:
    # In a tuple, because a dataclass alone takes no config from outside.
    return TypeAdapter(tuple[_Snapshot], config=_NUMBERS)


@cache
def _candidate_adapter() -> TypeAdapter[tuple[CandidateView]]:
    return TypeAdapter(tuple[CandidateView], config=_NUMBERS)
