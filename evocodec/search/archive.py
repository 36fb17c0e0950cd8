"""The archive: every candidate that was measured or failed, and those in flight.

It is made from a run's events alone, live and on resume, so that both propose the same.
"""

import math
import random
import sys
import threading
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from evocodec.domain.events import (
    Adopted,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    CodeWritten,
    Evaluated,
    Event,
    Judged,
    Planned,
    Screened,
)
from evocodec.domain.vocabulary import VerdictRule
from evocodec.search.facts import FactsOf, LazyValues, unknown_facts

SearchMode = Literal["mutation", "model"]

_REFUSED_AT_THE_GATE = frozenset({VerdictRule.OVERFITTED, VerdictRule.NONDETERMINISTIC})
_CHAMPION_SHARE = 0.7  # how often a model starts from the champion
_TOP = 8  # how many of the best compete to be a parent beside the champion
_SOFTMAX_PERCENT = 3.0  # a lead of that many per cent makes a parent e times as likely


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One candidate. ``edits`` are against its parent; ``values`` are those of all its tunables.

    ``sha256`` names its program in the blob store; empty where none was written.
    ``estimated_bitrate_mbps`` comes from a full evaluation when ``full``, else it is the screen's
    ratio times its reference's bitrate; None when nothing was measured. ``failed`` entries have no
    estimate and are kept so that they are not proposed again.
    """

    candidate_id: str
    parent_id: str = ""
    sha256: str = ""
    edits: tuple[tuple[str, str], ...] = ()
    estimated_bitrate_mbps: float | None = None
    full: bool = False
    failed: bool = False
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        estimate = self.estimated_bitrate_mbps
        if estimate is not None and not (math.isfinite(estimate) and estimate > 0):
            raise ValueError(f"{self.candidate_id}: {estimate} is no bitrate")

    @property
    def ranked(self) -> bool:
        """Whether it can be compared with others."""
        return not self.failed and self.estimated_bitrate_mbps is not None


@dataclass(slots=True)
class _Open:
    """Facts of a candidate in flight, from its events."""

    candidate_id: str
    parent_id: str = ""
    edits: tuple[tuple[str, str], ...] = ()
    sha256: str = ""
    values: Mapping[str, str] | None = None


class Archive:
    """Entries by candidate id, folded from events; any thread may call any method.

    ``mode`` decides how parents are picked: ``mutation`` takes the best estimate, since edits of
    constants add up; ``model`` takes the champion mostly, else one of the best at random.
    ``facts_of`` is called for programs that were recorded without facts, and only when their values
    are needed.
    """

    def __init__(
        self, *, mode: SearchMode = "mutation", seed: int, facts_of: FactsOf = unknown_facts
    ) -> None:
        self.mode = mode
        self._seed = seed
        self._facts_of = facts_of
        # Candidates in flight look while others report.
        self._lock = threading.RLock()
        self._open: dict[str, _Open] = {}
        self._pending: dict[str, _Open] = {}
        self._entries: dict[str, ArchiveEntry] = {}
        self._arrivals: dict[str, int] = {}
        self._ranking: list[tuple[float, bool, int, str]] = []
        self._champion_id = ""
        self._opened = 0

    def observe(self, event: Event) -> None:
        """Take in one event of the run, in the order of the ledger."""
        match event:
            case CandidateOpened() | Planned() | CodeWritten():
                with self._lock:
                    self._begin(event)
            case Screened() | Evaluated() | AttemptFailed() | Judged() | CandidateClosed():
                with self._lock:
                    self._end(event)
            case Adopted():
                with self._lock:
                    self._champion_id = event.candidate_id

    def _begin(self, event: CandidateOpened | Planned | CodeWritten) -> None:
        candidate = self._candidate(event.candidate_id)
        match event:
            case CandidateOpened():
                self._opened += 1
                candidate.parent_id = event.parent_id
            case Planned():
                candidate.edits = event.edits
                if event.edits:
                    self._pending[event.candidate_id] = candidate
            case CodeWritten():
                candidate.sha256 = event.source_sha256
                facts = event.facts
                candidate.values = None if facts is None else _shared(facts.tunables)

    def _end(self, event: Screened | Evaluated | AttemptFailed | Judged | CandidateClosed) -> None:
        candidate = self._candidate(event.candidate_id)
        known = self._entries.get(event.candidate_id)
        match event:
            case Screened(result=result):
                if known is None or not known.full:
                    reference = self._entries.get(result.reference_id)
                    bitrate = reference.estimated_bitrate_mbps if reference else None
                    estimate = None if bitrate is None else bitrate * result.rate_ratio
                    self._keep(candidate, estimate)
            case Evaluated(score=score):
                self._keep(candidate, score.bitrate_mbps, full=True)
            case AttemptFailed():
                self._fail(candidate)
            case Judged(verdict=verdict):
                if verdict.rule is VerdictRule.BASELINE:
                    self._champion_id = event.candidate_id
                elif verdict.rule in _REFUSED_AT_THE_GATE and candidate.parent_id:
                    # What did not survive the held-out gate is nobody's parent; what a run starts
                    # from has to be.
                    self._fail(candidate)
            case CandidateClosed():
                if known is None:
                    self._fail(candidate)
                self._pending.pop(event.candidate_id, None)
                del self._open[event.candidate_id]

    def _candidate(self, candidate_id: str) -> _Open:
        return self._open.setdefault(candidate_id, _Open(candidate_id))

    def _fail(self, candidate: _Open) -> None:
        """Keep what was tried in vain; where nothing was tried yet there is nothing to keep."""
        if candidate.sha256 or candidate.edits:
            self._keep(candidate, None, failed=True)

    def _keep(
        self,
        candidate: _Open,
        estimate: float | None,
        *,
        full: bool = False,
        failed: bool = False,
    ) -> None:
        name = candidate.candidate_id
        self._pending.pop(name, None)
        known = self._entries.get(name)
        if known is not None and known.ranked:
            del self._ranking[bisect_left(self._ranking, self._rank(known))]
        arrival = len(self._arrivals)
        self._arrivals.setdefault(name, arrival)
        entry = ArchiveEntry(
            candidate_id=name,
            parent_id=candidate.parent_id,
            sha256=candidate.sha256,
            edits=candidate.edits,
            estimated_bitrate_mbps=estimate,
            full=full,
            failed=failed,
            values=self._values(candidate),
        )
        self._entries[name] = entry
        if entry.ranked:
            insort(self._ranking, self._rank(entry))

    def _rank(self, entry: ArchiveEntry) -> tuple[float, bool, int, str]:
        """Lowest estimate first; of equal ones a full evaluation, then what came first."""
        estimate = entry.estimated_bitrate_mbps or math.inf
        return estimate, not entry.full, self._arrivals[entry.candidate_id], entry.candidate_id

    def _values(self, candidate: _Open) -> Mapping[str, str]:
        if candidate.values is not None:
            return candidate.values
        sha256, facts_of = candidate.sha256, self._facts_of
        if sha256:
            return LazyValues(lambda: _shared(facts_of(sha256).tunables))
        parent = self._entries.get(candidate.parent_id)
        if parent is None:
            return MappingProxyType(dict(candidate.edits))
        edits = dict(candidate.edits)
        return LazyValues(lambda: {**parent.values, **edits})

    @property
    def pending(self) -> Mapping[str, Mapping[str, str]]:
        """Marked constants of the edits that are planned and not settled, by candidate id."""
        return self.snapshot()[1]

    def snapshot(self) -> tuple[tuple[ArchiveEntry, ...], Mapping[str, Mapping[str, str]]]:
        """All entries in the order of their arrival, and what is pending, at one moment."""
        with self._lock:
            entries = tuple(self._entries.values())
            planned = [
                (name, parent, candidate.edits)
                for name, candidate in self._pending.items()
                if (parent := self._entries.get(candidate.parent_id)) is not None
            ]
        # Outside the lock: the values of an old parent may have to be derived.
        return entries, {
            name: MappingProxyType({**parent.values, **dict(edits)})
            for name, parent, edits in planned
        }

    @property
    def champion(self) -> ArchiveEntry | None:
        """The champion's entry, once it is known."""
        with self._lock:
            return self._entries.get(self._champion_id)

    def entries(self) -> tuple[ArchiveEntry, ...]:
        """All entries in the order of their arrival."""
        with self._lock:
            return tuple(self._entries.values())

    def find(self, candidate_id: str) -> ArchiveEntry | None:
        """The entry, or None."""
        with self._lock:
            return self._entries.get(candidate_id)

    def get(self, candidate_id: str) -> ArchiveEntry:
        """The entry; raises LookupError when there is none."""
        entry = self.find(candidate_id)
        if entry is None:
            raise LookupError(f"{candidate_id} is not in the archive")
        return entry

    def best(self) -> ArchiveEntry | None:
        """The lowest estimate; a full evaluation wins a tie."""
        with self._lock:
            return self._entries[self._ranking[0][-1]] if self._ranking else None

    def best_evaluated(self) -> ArchiveEntry | None:
        """The lowest bitrate of a full evaluation."""
        with self._lock:
            ranked = (self._entries[name] for *_, name in self._ranking)
            return next((entry for entry in ranked if entry.full), None)

    def select_parent(self) -> ArchiveEntry:
        """Pick where the next candidate starts; raises LookupError while nothing was measured.

        The same events give the same answer: what is random depends on the seed, on how many
        candidates were opened, and on how many are known.
        """
        with self._lock:
            best, champion = self.best(), self.champion
            if best is None:
                if champion is None:
                    raise LookupError("there is no measured candidate to start from")
                return champion
            if self.mode == "mutation":
                return best
            rng = random.Random(f"{self._seed}/{len(self._entries)}/{self._opened}")
            if champion is not None and rng.random() < _CHAMPION_SHARE:
                return champion
            top = [self._entries[name] for *_, name in self._ranking[:_TOP]]
            return rng.choices(top, [_weight(entry, top[0]) for entry in top])[0]


def _shared(tunables: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Thousands of candidates have the same names and few values: each is kept once."""
    return MappingProxyType({sys.intern(name): sys.intern(value) for name, value in tunables})


def _weight(entry: ArchiveEntry, best: ArchiveEntry) -> float:
    if entry.estimated_bitrate_mbps is None or best.estimated_bitrate_mbps is None:
        return 0.0
    behind = 100.0 * math.log(entry.estimated_bitrate_mbps / best.estimated_bitrate_mbps)
    return math.exp(-behind / _SOFTMAX_PERCENT)
