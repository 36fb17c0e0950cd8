"""State of a run, folded from its events: the views of it, at any moment.

The same events give the same view, whether they are read from a ledger at once or received live.
An event changes one candidate and a few counters: what it costs does not grow with the run.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.results import Score
from evocodec.domain.vocabulary import RunPhase, VerdictRule
from evocodec.views.bulk import collector_paused
from evocodec.views.candidate import CandidateFold, CandidateView
from evocodec.views.counters import BestSoFar, SessionTime, Totals
from evocodec.views.run import AnchorView, RunView, VersionView, hevc_saving_percent

_MAY_END = frozenset({ev.CodeWritten, ev.AttemptFailed, ev.CandidateClosed})
_MAY_LEAD = frozenset({ev.Evaluated, ev.Judged, ev.Adopted})


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Complete state of a RunState, without the list of events that it has seen.

    ``seconds`` is how long the sessions that have ended took, ``session_began`` when the present
    one began, in seconds from 1970; None between sessions.
    """

    view: RunView
    seconds: float = 0.0
    session_began: float | None = None


class RunState:
    """Accumulates the events of one run; ``view`` may be read at any time.

    Any thread may call any method. Applying an event again (same key) changes nothing, so a
    listener may replay a ledger and listen at the same time. With ``facts`` it continues from the
    state of another, and must not be given events that the other had seen.
    """

    def __init__(self, facts: RunFacts | None = None) -> None:
        # A face asks for a view while a candidate's thread applies an event.
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._run_id = ""
        self._last_at = ""
        self._head = RunView()  # what a start or a stop changes; the rest is filled in by ``view``
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
        self._time = SessionTime()
        if facts is not None:
            self._restore(facts)

    def apply(self, event: ev.Event) -> str:
        """Apply one event; return what its candidate is doing now, empty for one that has ended.

        Raises:
            ValueError: the event is of another run.
        """
        key = event.key
        with self._lock:
            if event.run_id != self._run_id:
                if self._run_id:
                    raise ValueError(
                        f"an event of run {event.run_id} in the view of {self._run_id}"
                    )
                self._run_id = event.run_id
                self._head = replace(self._head, run_id=event.run_id, started_at=event.at)
            if key in self._seen:
                return self._activity(event.candidate_id)
            self._seen.add(key)
            apply = _APPLY.get(type(event))
            if apply is not None:
                apply(self, event)
            activity = self._apply_to_candidate(event) if event.candidate_id else ""
            self._last_at = event.at
            return activity

    def view(self) -> RunView:
        """Return what is known so far."""
        with self._lock:
            return self._view()

    def facts(self) -> RunFacts:
        """Return the state, so that another RunState can continue from it."""
        with self._lock:
            return RunFacts(self._view(), self._time.seconds, self._time.began)

    def _view(self) -> RunView:
        totals = self._totals
        return replace(
            self._head,
            last_at=self._last_at,
            state=_phase(self._head),
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
            elapsed_seconds=self._time.until(self._last_at),
        )

    def _restore(self, facts: RunFacts) -> None:
        view = facts.view
        self._run_id, self._last_at, self._head = view.run_id, view.last_at, view
        self._anchors = {(one.curve.codec, one.curve.clip): one for one in view.anchors}
        self._other_anchors = {(one.curve.codec, one.curve.clip): one for one in view.other_anchors}
        for place, candidate in enumerate(view.candidates):
            name = candidate.candidate_id
            self._views[name] = candidate
            restored = self._folds[name] = CandidateFold.of(candidate, place=place)
            if candidate.running:
                self._open[name] = None
            if candidate.score is not None:
                self._rank(restored, candidate.score)
        self._statuses.update({CandidateStatus(name): n for name, n in view.counts.items()})
        self._failures.update(view.failures)
        self._versions = list(view.versions)
        self._baseline = view.version_to_beat  # asked for only before the first version
        self._totals = Totals(
            points=view.points,
            retries=view.retries,
            model_calls=view.model_calls,
            prompt_tokens=view.prompt_tokens,
            completion_tokens=view.completion_tokens,
            cost_usd=view.cost_usd,
        )
        self._time = SessionTime(facts.seconds, facts.session_began)

    @property
    def phase(self) -> RunPhase:
        """Whether the run is running, has stopped, or is empty."""
        with self._lock:
            return _phase(self._head)

    def in_flight(self) -> tuple[CandidateView, ...]:
        """Return the candidates that have not ended, in the order of opening."""
        with self._lock:
            return tuple(self._folds[name].view() for name in self._open)

    def _activity(self, candidate_id: str) -> str:
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

    def _point_measured(self, event: ev.PointMeasured) -> None:
        self._totals.points += 1

    def _model_called(self, event: ev.ModelCalled) -> None:
        self._totals.add_call(event)

    def _retried(self, event: ev.InfrastructureRetried) -> None:
        self._totals.retries += 1

    def _started(self, event: ev.RunStarted) -> None:
        self._time.end(self._last_at)
        self._time.begin(event.at)
        self._head = replace(
            self._head,
            outcome=None,
            message="",
            resumed=event.resumed,
            proposer=event.proposer,
            seed=event.seed,
            unsafe=event.unsafe,
            clips=event.clips,
            settings=event.settings,
            software=event.software,
            isolation=event.isolation,
            dashboard_url=event.cluster.dashboard_url,
            notice=event.notice,
        )

    def _stopped(self, event: ev.RunStopped) -> None:
        self._time.end(event.at)
        self._head = replace(self._head, outcome=event.outcome, message=event.message)

    def _anchor_ready(self, event: ev.AnchorReady) -> None:
        view = AnchorView(event.curve, event.stream, event.operating_psnr_y_db, event.cached)
        known = self._anchors if event.primary else self._other_anchors
        known[event.curve.codec, event.curve.clip] = view

    def _apply_to_candidate(self, event: ev.Event) -> str:
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
        else:
            candidate.apply(event)
            if kind in _MAY_LEAD:
                self._apply_to_leaders(candidate, event)
        return candidate.activity if candidate.status is CandidateStatus.RUNNING else ""

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


_APPLY: dict[type, Callable[[RunState, Any], None]] = {
    ev.PointMeasured: RunState._point_measured,
    ev.ModelCalled: RunState._model_called,
    ev.InfrastructureRetried: RunState._retried,
    ev.RunStarted: RunState._started,
    ev.RunStopped: RunState._stopped,
    ev.AnchorReady: RunState._anchor_ready,
}


def fold(events: Iterable[ev.Event]) -> RunView:
    """Return the view of one run's events, in the order of the ledger."""
    state = RunState()
    with collector_paused():
        for event in events:
            state.apply(event)
        return state.view()


def _phase(head: RunView) -> RunPhase:
    if head.outcome is not None:
        return RunPhase.STOPPED
    return RunPhase.RUNNING if head.run_id else RunPhase.EMPTY


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
        improvement_percent=view.improvement_percent,
        compared_with=verdict.compared_with if verdict else "",
        hevc_percent=hevc_saving_percent(score.bitrate_mbps) if score else None,
        commit=event.commit,
        tag=event.tag,
        pushed=event.pushed,
        push_error=event.push_error,
        adopted_at=event.at,
        hypothesis=view.hypothesis,
        held_out_bitrate_mbps=view.held_out_bitrate_mbps,
    )


def _ending_failure(candidate: CandidateFold) -> str:
    """The kind of failure that ended a candidate; empty for all others."""
    if candidate.failure and candidate.status is CandidateStatus.TEST_FAILED:
        return candidate.failure.kind
    return ""
