"""The archive: every candidate that was measured or failed, and those in flight."""

import math
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from evocodec.codec.program import Program
from evocodec.codec.tunables import canonical
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

SearchMode = Literal["mutation", "model"]

_CHAMPION_SHARE = 0.7  # of a model's proposals start from the champion, the others from the best
_TOP = 8  # how many of the best compete to be a parent beside the champion
_SOFTMAX_PERCENT = 3.0  # a lead of that many per cent makes a parent e times as likely


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One candidate. ``edits`` are against its parent; ``values`` are all its marked constants.

    ``estimated_bitrate_mbps`` comes from a full evaluation when ``full``, else it is the screen's
    ratio times its reference's bitrate; None when nothing was measured. ``failed`` entries have no
    estimate and are kept so that nobody tries them again.
    """

    candidate_id: str
    parent_id: str
    source: str = field(repr=False)
    edits: tuple[tuple[str, str], ...] = ()
    estimated_bitrate_mbps: float | None = None
    full: bool = False
    failed: bool = False
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        tunables = () if self.values else Program(self.source).readable_tunables
        values = self.values or {t.name: canonical(t.value) for t in tunables}
        object.__setattr__(self, "values", MappingProxyType(dict(values)))
        estimate = self.estimated_bitrate_mbps
        if estimate is not None and not (math.isfinite(estimate) and estimate > 0):
            raise ValueError(f"{self.candidate_id}: {estimate} is no bitrate")

    @property
    def ranked(self) -> bool:
        """Whether it can be compared with others."""
        return not self.failed and self.estimated_bitrate_mbps is not None


class Archive:
    """Entries by candidate id; any thread may call any method.

    ``mode`` decides how parents are picked: ``mutation`` takes the best estimate, since edits of
    constants add up; ``model`` takes the champion mostly, else one of the best at random.
    """

    def __init__(self, *, mode: SearchMode = "mutation", seed: int = 1) -> None:
        self.mode = mode
        self._seed = seed
        # Candidates in flight propose and report at once: a proposal must see every other one.
        self.lock = threading.RLock()
        self._entries: dict[str, ArchiveEntry] = {}
        self._pending: dict[str, Mapping[str, str]] = {}
        self._champion_id = ""
        self._picks = 0

    def add(self, entry: ArchiveEntry) -> None:
        """Keep a candidate; it is no longer pending.

        A later entry of the same candidate replaces it, but a screen's estimate never replaces a
        full evaluation.
        """
        with self.lock:
            self._pending.pop(entry.candidate_id, None)
            known = self._entries.get(entry.candidate_id)
            if known is None or not known.full or entry.full:
                self._entries[entry.candidate_id] = entry

    def add_failure(self, entry: ArchiveEntry) -> None:
        """Keep a candidate that failed, without an estimate."""
        self.add(replace(entry, failed=True, full=False, estimated_bitrate_mbps=None))

    def demote(self, candidate_id: str) -> None:
        """Take a measured candidate out of the ranking: its estimate proved to be worth nothing."""
        with self.lock:
            known = self._entries.get(candidate_id)
            if known is not None:
                self._entries[candidate_id] = replace(
                    known, failed=True, full=False, estimated_bitrate_mbps=None
                )

    def set_champion(self, candidate_id: str) -> None:
        """Name the champion; it need not be known yet."""
        with self.lock:
            self._champion_id = candidate_id

    def reserve(self, candidate_id: str, values: Mapping[str, str]) -> None:
        """Note marked constants that are under way, so that nobody else proposes them."""
        with self.lock:
            self._pending[candidate_id] = MappingProxyType(dict(values))

    def release(self, candidate_id: str) -> None:
        """Forget a proposal that came to nothing."""
        with self.lock:
            self._pending.pop(candidate_id, None)

    @property
    def pending(self) -> Mapping[str, Mapping[str, str]]:
        """Marked constants of the proposals under way, by candidate id."""
        with self.lock:
            return dict(self._pending)

    @property
    def champion(self) -> ArchiveEntry | None:
        """The champion's entry, once it is known."""
        with self.lock:
            return self._entries.get(self._champion_id)

    def entries(self) -> tuple[ArchiveEntry, ...]:
        """All entries in the order of their arrival."""
        with self.lock:
            return tuple(self._entries.values())

    def find(self, candidate_id: str) -> ArchiveEntry | None:
        """The entry, or None."""
        with self.lock:
            return self._entries.get(candidate_id)

    def get(self, candidate_id: str) -> ArchiveEntry:
        """The entry; raises LookupError when there is none."""
        entry = self.find(candidate_id)
        if entry is None:
            raise LookupError(f"{candidate_id} is not in the archive")
        return entry

    def best(self) -> ArchiveEntry | None:
        """The lowest estimate; a full evaluation wins a tie."""
        return next(iter(self._ranking()), None)

    def select_parent(self) -> ArchiveEntry:
        """Pick where the next candidate starts; raises LookupError while nothing was measured."""
        with self.lock:
            ranking = self._ranking()
            champion = self.champion
            if not ranking and champion is None:
                raise LookupError("there is no measured candidate to start from")
            if not ranking:
                assert champion is not None  # noqa: S101 - said above, for the type checker
                return champion
            if self.mode == "mutation":
                return ranking[0]
            self._picks += 1
            rng = random.Random(f"{self._seed}/{len(self._entries)}/{self._picks}")
            if champion is not None and rng.random() < _CHAMPION_SHARE:
                return champion
            return rng.choices(ranking[:_TOP], [_weight(e, ranking[0]) for e in ranking[:_TOP]])[0]

    def _ranking(self) -> list[ArchiveEntry]:
        return sorted(
            (entry for entry in self.entries() if entry.ranked),
            key=lambda entry: (entry.estimated_bitrate_mbps or math.inf, not entry.full),
        )


def _weight(entry: ArchiveEntry, best: ArchiveEntry) -> float:
    if entry.estimated_bitrate_mbps is None or best.estimated_bitrate_mbps is None:
        return 0.0
    behind = 100.0 * math.log(entry.estimated_bitrate_mbps / best.estimated_bitrate_mbps)
    return math.exp(-behind / _SOFTMAX_PERCENT)


def restore(archive: Archive, events: Iterable[Event], source_of: Callable[[str], str]) -> None:
    """Fill an archive from a run's events, in their order; ``source_of`` maps a hash to a program.

    Candidates that are still open come back as pending.
    """
    tracks: dict[str, _Track] = {}
    for event in events:
        if not event.candidate_id:
            continue
        track = tracks.setdefault(event.candidate_id, _Track(event.candidate_id))
        track.apply(event)
        if isinstance(event, Adopted):
            archive.set_champion(event.candidate_id)
        elif isinstance(event, (Screened, Evaluated, CandidateClosed)) and track.sha256:
            _settle(
                archive, track, source_of(track.sha256), closed=event.kind == "candidate_closed"
            )
    for track in tracks.values():
        if not track.closed and track.edits:
            _reserve(archive, track)


@dataclass(slots=True)
class _Track:
    """What the events have said of one candidate so far."""

    candidate_id: str
    parent_id: str = ""
    edits: tuple[tuple[str, str], ...] = ()
    sha256: str = ""
    bitrate_mbps: float | None = None
    ratio: float | None = None
    reference_id: str = ""
    closed: bool = False

    def apply(self, event: Event) -> None:
        match event:
            case CandidateOpened():
                self.parent_id = event.parent_id
            case Planned():
                self.edits = event.edits
            case CodeWritten():
                self.sha256 = event.source_sha256
            case Screened():
                self.ratio, self.reference_id = event.result.rate_ratio, event.result.reference_id
            case Evaluated():
                self.bitrate_mbps = event.score.bitrate_mbps
            case AttemptFailed():
                self.bitrate_mbps = self.ratio = None
            case Judged(verdict=verdict) if (
                verdict.rule is VerdictRule.OVERFITTED and self.parent_id
            ):
                self.bitrate_mbps = self.ratio = None
            case CandidateClosed():
                self.closed = True
            case _:
                pass


def _settle(archive: Archive, track: _Track, source: str, *, closed: bool) -> None:
    entry = ArchiveEntry(track.candidate_id, track.parent_id, source, track.edits)
    if track.bitrate_mbps is not None:
        archive.add(replace(entry, estimated_bitrate_mbps=track.bitrate_mbps, full=True))
        return
    reference = archive.find(track.reference_id)
    if track.ratio and reference is not None and reference.estimated_bitrate_mbps is not None:
        estimate = track.ratio * reference.estimated_bitrate_mbps
        archive.add(replace(entry, estimated_bitrate_mbps=estimate))
    elif closed:
        archive.add_failure(entry)


def _reserve(archive: Archive, track: _Track) -> None:
    parent = archive.find(track.parent_id)
    if parent is not None and archive.find(track.candidate_id) is None:
        archive.reserve(track.candidate_id, {**parent.values, **dict(track.edits)})
