"""Resolver: finds recorded runs, candidates and programs by the names that people type."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from evocodec.app.controller_lock import is_gone, note_gone
from evocodec.app.workspace import Workspace
from evocodec.codec.program import Program
from evocodec.domain.errors import UserError
from evocodec.domain.events import (
    CandidateOpened,
    Event,
    kinds_of,
)
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.views.candidate import CandidateFold, CandidateView
from evocodec.views.progress import Progress
from evocodec.views.run import RunView
from evocodec.views.run_state import fold
from evocodec.views.snapshot import Snapshots

if TYPE_CHECKING:  # git's client takes its time to import
    from evocodec.champions.repository import ChampionRepository

_HASH = re.compile(r"[0-9a-f]{64}")
_CANDIDATE = re.compile(r"(?:(?P<run>[^/]+)/)?(?P<id>c\d+)")
_VERSION = re.compile(r"v\d+|current")


class Resolver:
    """Finds what a name stands for.

    ``champions`` is called only when a version may be meant; ``workspace`` is shown in messages.

    An unknown name raises ``UserError``, which lists similar names.
    """

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        champions: "Callable[[], ChampionRepository]",
        workspace: Workspace,
        snapshots: Snapshots,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._champions = champions
        self._workspace = workspace
        self._place = workspace.root
        self._snapshots = snapshots

    def run_id(self, run_id: str | None = None) -> str:
        """A run's whole id, from that, a part of it, or ``latest`` or None for the newest."""
        runs = self._ledger.runs()
        if run_id is None or run_id == "latest":
            if not runs:
                message = f"no run is recorded in {self._place}; begin with `evocodec run`"
                raise UserError(message)
            return runs[0]
        if run_id in runs:
            return run_id
        near = [known for known in runs if run_id in known]
        if len(near) == 1:
            return near[0]
        some = near or runs
        asked = "did you mean one of" if near else "the newest are"
        hint = f"; {asked} {', '.join(some[:5])}" if some else "; begin one with `evocodec run`"
        message = f"there is no run {run_id!r} in {self._place}{hint}"
        raise UserError(message)

    def events(
        self, run_id: str | None = None, *, candidate_id: str | None = None, after: int = 0
    ) -> Iterator[tuple[int, Event]]:
        """A run's events in order, with their positions; the newest run's when none is named."""
        return self._ledger.events(self.run_id(run_id), after=after, candidate_id=candidate_id)

    def view(self, run_id: str | None = None) -> RunView:
        """A run as it is now; the newest when none is named."""
        return self.progress(self.run_id(run_id))[0].view()

    def progress(self, run_id: str) -> tuple[Progress, int]:
        """The progress of a run, by its whole id, and the position of its newest event."""
        progress = Progress()
        gone = self.is_gone(run_id)
        position = self._snapshots.follow(self._ledger, run_id, progress)
        if gone:
            note_gone(progress)
        return progress, position

    def advance(self, progress: Progress, run_id: str, after: int) -> int:
        """Take in what came after a position; return that of the newest event."""
        gone = self.is_gone(run_id)
        for position, event in self._ledger.events(run_id, after=after):
            progress.apply(event)
            after = position
        if gone:
            note_gone(progress)
        return after

    def is_gone(self, run_id: str) -> bool:
        """Whether the controller of a run is known to be gone.

        To be asked before its events are read: one that ends in order records that first.
        """
        return is_gone(self._workspace.run(run_id))

    def candidate(self, ref: str) -> CandidateView:
        """A candidate: ``c0007`` of the newest run, or ``RUN/c0007``; no other is read."""
        return self.excerpt(ref)[0]

    def excerpt(self, ref: str) -> tuple[CandidateView, RunView]:
        """Return a candidate, and its run with only this candidate and its screen reference."""
        match = _CANDIDATE.fullmatch(ref)
        if match is None:
            message = f"{ref!r} is no candidate; they are called c0007, or RUN/c0007"
            raise UserError(message)
        run_id, name = self.run_id(match["run"]), match["id"]
        own = self._events_of(run_id, name)
        if not own:
            raise self._no_candidate(run_id, name)
        candidate = CandidateFold(name)
        for event in own:
            candidate.apply(event)
        view = candidate.view()
        reference = view.screen.reference_id if view.screen else ""
        shown = self._events_of(run_id, reference) if reference not in {"", name} else []
        return view, fold([*self._events_of(run_id, ""), *shown, *own])

    def _events_of(self, run_id: str, candidate_id: str) -> list[Event]:
        """Events of one candidate; those of the run itself for an empty id."""
        return [event for _, event in self._ledger.events(run_id, candidate_id=candidate_id)]

    def _no_candidate(self, run_id: str, name: str) -> UserError:
        last = "none yet"
        for _, event in self._ledger.events(run_id, kinds=kinds_of(CandidateOpened)):
            last = event.candidate_id
        return UserError(
            f"run {run_id} has no candidate {name}; its last is {last}. `evocodec ls` lists them"
        )

    def program(self, ref: str) -> tuple[str, Program]:
        """The writer id that names a program in ``.evc`` files, and the program.

        A version's id is its own; any other program is kept as a blob and named by its hash.
        """
        from evocodec.app.programs import BUILT_IN, built_in
        from evocodec.champions.publish import resolve as resolve_published

        if _HASH.fullmatch(ref):
            return ref, Program(self._blobs.get(ref).decode())
        if _CANDIDATE.fullmatch(ref):
            program = self._candidate_program(ref)
        elif ref in BUILT_IN:
            program = Program(built_in(ref))
        else:
            published = resolve_published(ref, self._champions())
            if not published.writer_id.startswith("file+"):
                return published.writer_id, published.program
            program = published.program
        return self._blobs.put(program.data), program

    def writer(self, writer_id: str) -> Program:
        """The program that a writer id inside an ``.evc`` file names.

        The file may come from an attacker, so its id is not treated as a reference of the user:
        only a version, with or without its commit, and the SHA-256 of a stored program are looked
        up. Raises ``UserError``.
        """
        from evocodec.champions.publish import published_writer

        if _HASH.fullmatch(writer_id):
            try:
                return Program(self._blobs.get(writer_id).decode())
            except UnicodeDecodeError as error:
                message = f"what has the SHA-256 {writer_id} is no program: it is not UTF-8 text"
                raise UserError(message) from error
        published = published_writer(writer_id, self._champions())
        if published is None:
            message = (
                f"the file says that {writer_id!r} wrote it, which is neither a version (v3, "
                "v3+1a2b3c4d) nor the SHA-256 of a program. Nothing else in a file is looked up; "
                "ask whoever made it for the program, and encode the video again"
            )
            raise UserError(message)
        return published.program

    def origin(self, ref: str) -> tuple[RunView, str] | None:
        """The run that a candidate or version comes from, and its id there; else None."""
        match = _CANDIDATE.fullmatch(ref)
        if match:
            return self.view(match["run"]), match["id"]
        if not _VERSION.fullmatch(ref):
            return None
        champions = self._champions()
        known = {version.tag: version for version in champions.versions()}
        version = champions.current() if ref == "current" else known.get(ref)
        if version is None or version.run_id not in self._ledger.runs():
            return None
        return self.view(version.run_id), version.candidate_id

    def _candidate_program(self, ref: str) -> Program:
        candidate = self.candidate(ref)
        hashes = [a.source_sha256 for a in candidate.attempts if a.source_sha256]
        if not hashes:
            why = candidate.reason or "it is still being planned"
            message = f"{ref} never had a program: {why}"
            raise UserError(message)
        return Program(self._blobs.get(hashes[-1]).decode())
