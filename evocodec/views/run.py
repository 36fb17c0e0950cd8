"""Views of runs for people and agents, computed from events alone.

The same events give the same view, whether they are read from a ledger at once or heard live.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.clock import epoch_seconds
from evocodec.domain.results import (
    HEVC_BITRATE_MBPS,
    RdCurve,
)
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import Proposer, RunOutcome, RunPhase, VerdictRule
from evocodec.views.candidate import (
    CandidateView,
    apply_event,
)


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
    """Everything the ledger says about one run.

    A killed run stays ``running``. ``outcome`` and ``message`` are those of the stop, None and
    empty before. ``counts`` has every candidate status, ``failures`` every failure kind that ended
    a candidate. ``best`` is the adopted candidate with the lowest bitrate, or the evaluated one
    when none was adopted.
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
    anchors: tuple[AnchorView, ...] = ()
    other_anchors: tuple[AnchorView, ...] = ()
    candidates: tuple[CandidateView, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    best: CandidateView | None = None
    versions: tuple[VersionView, ...] = ()
    points: int = 0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    retries: int = 0
    elapsed_seconds: float = 0.0

    @property
    def in_flight(self) -> tuple[CandidateView, ...]:
        """Candidates whose way has not ended."""
        return tuple(candidate for candidate in self.candidates if candidate.running)

    @property
    def version_to_beat(self) -> tuple[str, float | None] | None:
        """Name and bitrate of the champion, adopted in this run or before it; None for HEVC."""
        if self.versions:
            newest = self.versions[-1]
            return newest.tag, newest.bitrate_mbps
        for candidate in reversed(self.candidates):
            verdict = candidate.verdict
            if verdict is not None and verdict.rule is VerdictRule.BASELINE:
                return verdict.compared_with, verdict.bitrate_mbps
        return None

    def candidate(self, candidate_id: str) -> CandidateView | None:
        """Return the candidate of that id, or None."""
        found = (c for c in self.candidates if c.candidate_id == candidate_id)
        return next(found, None)


class RunState:
    """Accumulates the events of one run; ``view`` may be asked for at any time.

    Any thread may call both methods. Applying an event again (same key) changes nothing, so a
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
        self._candidates: dict[str, CandidateView] = {}
        self._versions: list[VersionView] = []
        self._calls: list[ev.ModelCalled] = []
        self._retries = 0
        self._points = 0
        self._session_began: float | None = None
        self._seconds = 0.0

    def apply(self, event: ev.Event) -> None:
        """Take in one event. Raises ValueError for an event of another run."""
        with self._lock:
            if self._run_id and event.run_id != self._run_id:
                raise ValueError(f"an event of run {event.run_id} in the view of {self._run_id}")
            if event.key in self._seen:
                return
            self._seen.add(event.key)
            self._run_id = event.run_id
            self._first_at = self._first_at or event.at
            self._apply_to_run(event)
            if event.candidate_id:
                self._apply_to_candidate(event)
            self._last_at = event.at

    def view(self) -> RunView:
        """Return what is known so far."""
        with self._lock:
            started = self._started
            stopped = self._stopped
            candidates = tuple(self._candidates.values())
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
                anchors=tuple(self._anchors.values()),
                other_anchors=tuple(self._other_anchors.values()),
                candidates=candidates,
                counts=_count_statuses(candidates),
                failures=Counter(_ending_failures(candidates)),
                best=_best(candidates),
                versions=tuple(self._versions),
                points=self._points,
                model_calls=len(self._calls),
                prompt_tokens=sum(call.prompt_tokens for call in self._calls),
                completion_tokens=sum(call.completion_tokens for call in self._calls),
                cost_usd=sum(call.cost_usd for call in self._calls),
                retries=self._retries,
                elapsed_seconds=self._seconds + self._open_session_seconds(),
            )

    def _apply_to_run(self, event: ev.Event) -> None:
        match event:
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
            case ev.ModelCalled():
                self._calls.append(event)
            case ev.InfrastructureRetried():
                self._retries += 1
            case ev.PointMeasured():
                self._points += 1

    def _apply_to_candidate(self, event: ev.Event) -> None:
        name = event.candidate_id
        view = apply_event(self._candidates.get(name) or CandidateView(name), event)
        self._candidates[name] = view
        if isinstance(event, ev.Adopted):
            self._versions.append(_version(view, event))

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


def _best(candidates: Iterable[CandidateView]) -> CandidateView | None:
    scored = [(c.adoption is None, c.score.bitrate_mbps, c) for c in candidates if c.score]
    return min(scored, key=lambda entry: entry[:2])[2] if scored else None


def _count_statuses(candidates: Iterable[CandidateView]) -> Mapping[str, int]:
    found = Counter(candidate.status.value for candidate in candidates)
    return {status.value: found[status.value] for status in CandidateStatus}


def _ending_failures(candidates: Iterable[CandidateView]) -> Iterable[str]:
    for candidate in candidates:
        if candidate.failure and candidate.status is CandidateStatus.TEST_FAILED:
            yield candidate.failure.kind
