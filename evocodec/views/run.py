"""Views of runs for people and agents, computed from events alone.

The same events give the same view, whether they are read from a ledger at once or heard live.
An event changes one candidate and a few counters: what it costs does not grow with the run.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.clock import epoch_seconds
from evocodec.domain.results import HEVC_BITRATE_MBPS, RdCurve, Score
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import Proposer, RunOutcome, RunPhase, VerdictRule
from evocodec.views.bulk import collector_paused
from evocodec.views.candidate import CandidateFold, CandidateView
from evocodec.views.counters import BestSoFar, Totals

_MAY_END = frozenset({ev.CodeWritten, ev.AttemptFailed, ev.CandidateClosed})
_MAY_LEAD = frozenset({ev.Evaluated, ev.Judged, ev.Adopted})


@dataclass(frozen=True, slots=True)
class AnchorView:
    """An anchor's curve for one clip, and its PSNR-Y at the operating rate."""

    curve: RdCurve
    stream: StreamInfo
    operating_psnr_y_db: float
    cached: bool


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version that this run adopted.

    ``improvement_percent`` is how many per cent fewer bits than ``compared_with`` (the version
    before, or HEVC); ``hevc_percent`` the same against HEVC. More is better, below 0 is worse.
    """

    version: int
    candidate_id: str
    bitrate_mbps: float | None
    compression_ratio: float | None
    bd_rate_percent: float | None
    encode_fps: float | None
    decode_fps: float | None
    improvement_percent: float | None
    compared_with: str
    hevc_percent: float | None
    commit: str
    tag: str
    pushed: bool
    push_error: str
    adopted_at: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class RunView:
    """Everything that the ledger holds about one run.

    A killed run stays ``running``. ``outcome`` and ``message`` are those of the stop, None and
    empty before. ``counts`` has every candidate status, ``failures`` every failure kind that ended
    a candidate. ``best`` is the adopted candidate with the lowest bitrate, or the evaluated one
    when none was adopted. ``version_to_beat`` is the name and bitrate of the champion, adopted in
    this run or before it; None for HEVC.
    ``anchors`` are the primary one's curves, ``other_anchors`` those it is compared with besides.
    ``elapsed_seconds`` adds up the sessions of a run, each until its stop or its last event.
    """

    run_id: str = ""
    started_at: str = ""
    last_at: str = ""
    state: RunPhase = RunPhase.EMPTY
    outcome: RunOutcome | None = None
    message: str = ""
    resumed: int = 0
    proposer: Proposer | None = None
    seed: int = 0
    unsafe: bool = False
    clips: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    isolation: Mapping[str, str] = field(default_factory=dict)
    dashboard_url: str = ""
    notice: str = ""
    anchors: tuple[AnchorView, ...] = ()
    other_anchors: tuple[AnchorView, ...] = ()
    candidates: tuple[CandidateView, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    best: CandidateView | None = None
    version_to_beat: tuple[str, float | None] | None = None
    versions: tuple[VersionView, ...] = ()
    points: int = 0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    retries: int = 0
    elapsed_seconds: float = 0.0
    _by_id: dict[str, CandidateView] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def in_flight(self) -> tuple[CandidateView, ...]:
        """Candidates that have not ended."""
        return tuple(candidate for candidate in self.candidates if candidate.running)

    def candidate(self, candidate_id: str) -> CandidateView | None:
        """Return the candidate of that id, or None."""
        if not self._by_id:
            # Made at the first question: most views are only counted and listed.
            self._by_id.update((c.candidate_id, c) for c in self.candidates)
        return self._by_id.get(candidate_id)

    def finished(self, most: int) -> tuple[CandidateView, ...]:
        """Return the last candidates that ended, at most so many, in the order of opening."""
        ended = (candidate for candidate in reversed(self.candidates) if not candidate.running)
        return tuple(islice(ended, most))[::-1]


class RunState:
    """Accumulates the events of one run; ``view`` may be read at any time.

    Any thread may call any method. Applying an event again (same key) changes nothing, so a
    listener may replay a ledger and listen at the same time.
    """

    def __init__(self) -> None:
        # A face asks for a view while a candidate's thread applies an event.
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._run_id = ""
        self._started: ev.RunStarted | None = None
        self._first_at = ""
        self._last_at = ""
        self._stopped: ev.RunStopped | None = None
        self._anchors: dict[tuple[str, str], AnchorView] = {}
        self._other_anchors: dict[tuple[str, str], AnchorView] = {}
        self._folds: dict[str, CandidateFold] = {}
        self._views: dict[str, CandidateView] = {}
        self._changed: dict[str, None] = {}
        self._open: dict[str, None] = {}
        self._ranking = BestSoFar()
        self._statuses: Counter[CandidateStatus] = Counter()
        self._failures: Counter[str] = Counter()
        self._versions: list[VersionView] = []
        self._baseline: tuple[str, float | None] | None = None
        self._totals = Totals()
        self._session_began: float | None = None
        self._seconds = 0.0

    def apply(self, event: ev.Event) -> None:
        """Apply one event. Raises ValueError for an event of another run."""
        key = event.key
        with self._lock:
            if event.run_id != self._run_id:
                if self._run_id:
                    raise ValueError(
                        f"an event of run {event.run_id} in the view of {self._run_id}"
                    )
                self._run_id, self._first_at = event.run_id, event.at
            if key in self._seen:
                return
            self._seen.add(key)
            self._apply_to_run(event)
            if event.candidate_id:
                self._apply_to_candidate(event)
            self._last_at = event.at

    def view(self) -> RunView:
        """Return what is known so far."""
        with self._lock:
            started = self._started
            stopped = self._stopped
            totals = self._totals
            return RunView(
                run_id=self._run_id,
                started_at=self._first_at,
                last_at=self._last_at,
                state=_phase(self._run_id, stopped),
                outcome=stopped.outcome if stopped else None,
                message=stopped.message if stopped else "",
                resumed=started.resumed if started else 0,
                proposer=started.proposer if started else None,
                seed=started.seed if started else 0,
                unsafe=started.unsafe if started else False,
                clips=started.clips if started else (),
                settings=started.settings if started else {},
                software=started.software if started else {},
                isolation=started.isolation if started else {},
                dashboard_url=started.cluster.dashboard_url if started else "",
                notice=started.notice if started else "",
                anchors=tuple(self._anchors.values()),
                other_anchors=tuple(self._other_anchors.values()),
                candidates=self._candidates(),
                counts={status.value: self._statuses[status] for status in CandidateStatus},
                failures=dict(self._failures),
                best=self._best(),
                version_to_beat=self._version_to_beat(),
                versions=tuple(self._versions),
                points=totals.points,
                model_calls=totals.model_calls,
                prompt_tokens=totals.prompt_tokens,
                completion_tokens=totals.completion_tokens,
                cost_usd=totals.cost_usd,
                retries=totals.retries,
                elapsed_seconds=self._seconds + self._open_session_seconds(),
            )

    def in_flight(self) -> tuple[CandidateView, ...]:
        """Return the candidates that have not ended, in the order of opening."""
        with self._lock:
            return tuple(self._folds[name].view() for name in self._open)

    def activity(self, candidate_id: str) -> str:
        """Return what a candidate is doing, as text; empty for one that ended or is unknown."""
        with self._lock:
            found = self._folds.get(candidate_id)
            return found.activity if found is not None and found.running else ""

    def finished(self, most: int) -> tuple[CandidateView, ...]:
        """Return the last candidates that ended, at most so many, in the order of opening."""
        with self._lock:
            ended = (fold for fold in reversed(self._folds.values()) if not fold.running)
            return tuple(fold.view() for fold in islice(ended, most))[::-1]

    def _candidates(self) -> tuple[CandidateView, ...]:
        for name in self._changed:
            self._views[name] = self._folds[name].view()
        self._changed.clear()
        return tuple(self._views.values())

    def _best(self) -> CandidateView | None:
        name = self._ranking.best()
        return self._folds[name].view() if name else None

    def _version_to_beat(self) -> tuple[str, float | None] | None:
        if self._versions:
            return self._versions[-1].tag, self._versions[-1].bitrate_mbps
        return self._baseline

    def _apply_to_run(self, event: ev.Event) -> None:
        match event:
            case ev.PointMeasured():
                self._totals.points += 1
            case ev.ModelCalled():
                self._totals.add_call(event)
            case ev.InfrastructureRetried():
                self._totals.retries += 1
            case ev.RunStarted():
                self._end_session(self._last_at)
                self._session_began = epoch_seconds(event.at)
                self._started, self._stopped = event, None
            case ev.RunStopped():
                self._end_session(event.at)
                self._stopped = event
            case ev.AnchorReady():
                view = AnchorView(
                    event.curve, event.stream, event.operating_psnr_y_db, event.cached
                )
                known = self._anchors if event.primary else self._other_anchors
                known[event.curve.codec, event.curve.clip] = view

    def _apply_to_candidate(self, event: ev.Event) -> None:
        name = event.candidate_id
        candidate = self._folds.get(name)
        if candidate is None:
            candidate = self._folds[name] = CandidateFold(name, place=len(self._folds))
            self._open[name] = None
            self._statuses[CandidateStatus.RUNNING] += 1
        self._changed[name] = None
        kind = type(event)
        if kind in _MAY_END:
            before = candidate.status, _ending_failure(candidate)
            candidate.apply(event)
            self._count(name, before, (candidate.status, _ending_failure(candidate)))
            return
        candidate.apply(event)
        if kind in _MAY_LEAD:
            self._apply_to_leaders(candidate, event)

    def _apply_to_leaders(self, candidate: CandidateFold, event: ev.Event) -> None:
        match event:
            case ev.Evaluated():
                self._rank(candidate, event.score)
            case ev.Judged(verdict=verdict) if verdict.rule is VerdictRule.BASELINE:
                self._baseline = verdict.compared_with, verdict.bitrate_mbps
            case ev.Adopted():
                self._versions.append(_version(candidate.view(), event))
                if candidate.score is not None:
                    self._rank(candidate, candidate.score)

    def _rank(self, candidate: CandidateFold, score: Score) -> None:
        self._ranking.put(
            candidate.candidate_id,
            score.bitrate_mbps,
            adopted=candidate.adopted,
            place=candidate.place,
        )

    def _count(
        self,
        name: str,
        before: tuple[CandidateStatus, str],
        after: tuple[CandidateStatus, str],
    ) -> None:
        """Move a candidate from one counter to another."""
        if before == after:
            return
        self._statuses[before[0]] -= 1
        self._statuses[after[0]] += 1
        if before[1]:
            self._failures[before[1]] -= 1
            self._failures += Counter()  # drops a kind that ended nobody after all
        if after[1]:
            self._failures[after[1]] += 1
        if after[0] is not CandidateStatus.RUNNING:
            self._open.pop(name, None)

    def _open_session_seconds(self) -> float:
        last = epoch_seconds(self._last_at)
        if self._session_began is None or last is None:
            return 0.0
        return max(last - self._session_began, 0.0)

    def _end_session(self, at: str) -> None:
        end = epoch_seconds(at)
        if self._session_began is not None and end is not None:
            self._seconds += max(end - self._session_began, 0.0)
        self._session_began = None


def fold(events: Iterable[ev.Event]) -> RunView:
    """Return the view of one run's events, in the order of the ledger."""
    state = RunState()
    with collector_paused():
        for event in events:
            state.apply(event)
        return state.view()


def hevc_saving_percent(bitrate_mbps: float) -> float:
    """Return how many per cent fewer bits than HEVC, which is 10 Mbit/s by definition."""
    return 100.0 * (1.0 - bitrate_mbps / HEVC_BITRATE_MBPS)


def _phase(run_id: str, stopped: ev.RunStopped | None) -> RunPhase:
    if stopped:
        return RunPhase.STOPPED
    return RunPhase.RUNNING if run_id else RunPhase.EMPTY


def _version(view: CandidateView, event: ev.Adopted) -> VersionView:
    score, verdict = view.score, view.verdict
    return VersionView(
        version=event.version,
        candidate_id=view.candidate_id,
        bitrate_mbps=score.bitrate_mbps if score else None,
        compression_ratio=score.compression_ratio if score else None,
        bd_rate_percent=score.bd_rate_percent if score else None,
        encode_fps=score.encode_fps if score else None,
        decode_fps=score.decode_fps if score else None,
        improvement_percent=verdict.improvement_percent if verdict else None,
        compared_with=verdict.compared_with if verdict else "",
        hevc_percent=hevc_saving_percent(score.bitrate_mbps) if score else None,
        commit=event.commit,
        tag=event.tag,
        pushed=event.pushed,
        push_error=event.push_error,
        adopted_at=event.at,
        hypothesis=view.hypothesis,
    )


def _ending_failure(candidate: CandidateFold) -> str:
    """The kind of failure that ended a candidate; empty for all others."""
    if candidate.failure and candidate.status is CandidateStatus.TEST_FAILED:
        return candidate.failure.kind
    return ""
