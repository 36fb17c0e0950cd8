"""Progress of a run: its view, and since when each candidate has been at its present step."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from evocodec.domain import events as ev
from evocodec.domain.clock import epoch_seconds
from evocodec.domain.results import Stage
from evocodec.domain.vocabulary import RunPhase
from evocodec.views.candidate import CandidateView
from evocodec.views.run import RunView
from evocodec.views.run_state import RunFacts, RunState

FULL_POINTS_PER_CLIP = 4  # the fewest that make a usable curve
RECENT_EVENTS = 12
_RECENT = frozenset({ev.CandidateClosed, ev.InfrastructureRetried})
_SAME_STEP = frozenset({ev.PointMeasured, ev.ModelCalled, ev.ModelNoted, ev.InfrastructureRetried})
LEFT_OPEN = "waiting to go on"  # nobody has taken it up since the run was resumed


@dataclass(frozen=True, slots=True)
class CandidateStep:
    """Present step of a candidate; ``fraction`` only where the number of tasks is known."""

    candidate: CandidateView
    label: str
    fraction: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent picture of the run for one drawing.

    ``recent`` are the last candidates that were closed and tasks that were lost. ``begun`` is False
    while a resumed run has not gone on yet: what is known is of the past then. ``points_before``
    are the rate points of earlier sessions, of ``run.points``.
    """

    run: RunView
    steps: tuple[CandidateStep, ...]
    recent: tuple[ev.Event, ...]
    seconds: float
    begun: bool = True
    points_before: int = 0


@dataclass(frozen=True, slots=True)
class ProgressFacts:
    """Everything that a Progress knows, to go on from later; ``since`` is in its clock's seconds.

    ``left`` are the candidates that an earlier session left open.
    """

    run: RunFacts
    since: Mapping[str, tuple[str, float]]
    left: tuple[str, ...]
    points_before: int
    recent: tuple[ev.Event, ...]


class Progress:
    """Follows events from any thread; ``clock`` is in seconds and only differences matter.

    Without a clock it is the time of the newest event: for a run that is read from its ledger. An
    event costs what it changes; a view of the whole run is made when one is drawn.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._at = ""
        self._state = RunState()
        self._since: dict[str, tuple[str, float | str]] = {}
        self._left: set[str] = set()
        self._begun = True
        self._points = 0
        self._points_before = 0
        self._recent: deque[ev.Event] = deque(maxlen=RECENT_EVENTS)
        # The display's thread takes a snapshot while candidates' threads report.
        self._lock = threading.Lock()
        self.began = self._now()

    def replay(self, events: Iterable[ev.Event]) -> None:
        """Take in what happened before this session: nothing of it is going on now."""
        for event in events:
            self.apply(event)
        with self._lock:
            self._leave_open()
            self._begun = False

    def apply(self, event: ev.Event) -> None:
        """Take in one event."""
        kind = type(event)
        with self._lock:
            self._at = event.at
            if kind is ev.RunStarted:
                self._leave_open()
                self._begun = True
            activity = self._state.apply(event)
            if kind is ev.PointMeasured:
                self._points += 1
            elif kind in _RECENT:
                self._recent.append(event)
            candidate_id = event.candidate_id
            if self._left:
                self._left.discard(candidate_id)
            if candidate_id and kind not in _SAME_STEP:
                self._note_step(candidate_id, activity)

    @property
    def phase(self) -> RunPhase:
        """Whether the run is running, has stopped, or is empty."""
        return self._state.phase

    def view(self) -> RunView:
        """Return the run as it is known so far."""
        return self._state.view()

    def snapshot(self, *, now: float | None = None) -> Snapshot:
        """Return the picture of this moment, or of ``now`` on its clock."""
        with self._lock:
            moment = self._now() if now is None else now
            run = self._state.view()
            clips = max(len(run.clips), 1)
            steps = tuple(self._step(c, moment, clips) for c in self._state.in_flight())
            return Snapshot(
                run,
                steps,
                tuple(self._recent),
                moment - self.began,
                begun=self._begun,
                points_before=self._points_before,
            )

    def facts(self) -> ProgressFacts:
        """Return everything that is known, for ``restore``."""
        with self._lock:
            return ProgressFacts(
                self._state.facts(),
                {name: (step, _seconds(at)) for name, (step, at) in self._since.items()},
                tuple(sorted(self._left)),
                self._points_before,
                tuple(self._recent),
            )

    def restore(self, facts: ProgressFacts) -> None:
        """Continue from the state of another Progress; for one that has seen no event yet."""
        with self._lock:
            view = facts.run.view
            self._state = RunState(facts.run)
            self._at, self._points = view.last_at, view.points
            self._since, self._left = dict(facts.since), set(facts.left)
            self._points_before = facts.points_before
            self._recent.extend(facts.recent)

    def _now(self) -> float:
        return self._clock() if self._clock is not None else epoch_seconds(self._at) or 0.0

    def _leave_open(self) -> None:
        """Mark what is in flight as left open by an earlier session."""
        self._left = set(self._since)
        self._points_before = self._points

    def _note_step(self, candidate_id: str, activity: str) -> None:
        if not activity:
            self._since.pop(candidate_id, None)
            return
        known = self._since.get(candidate_id)
        if known is None or known[0] != activity:
            # Of a ledger's event the text is kept: few are ever asked for.
            self._since[candidate_id] = (activity, self._at if self._clock is None else self._now())

    def _step(self, candidate: CandidateView, now: float, clips: int) -> CandidateStep:
        since = _seconds(self._since.get(candidate.candidate_id, ("", now))[1])
        if candidate.candidate_id in self._left:
            return CandidateStep(candidate, LEFT_OPEN, None, now - since)
        label, fraction = step_text(candidate, clips=clips)
        if candidate.waits:
            label = f"{label}, {candidate.waits}"
        return CandidateStep(candidate, label, fraction, now - since)


def _seconds(moment: float | str) -> float:
    """A moment of the clock, or the time of an event, in seconds."""
    return (epoch_seconds(moment) or 0.0) if isinstance(moment, str) else moment


def step_text(candidate: CandidateView, *, clips: int) -> tuple[str, float | None]:
    """Return what a candidate is doing, and how much of it is done where that can be said."""
    measuring = candidate.stage is not None and candidate.activity not in _BETWEEN
    if not measuring or candidate.stage is None:
        return candidate.activity, None
    done, expected = candidate.stage_points, _expected(candidate.stage, clips)
    if done > expected:
        return f"{candidate.activity}, {done} tasks", None
    return f"{candidate.activity}, {done} of {expected} tasks", done / expected


_BETWEEN = frozenset(
    {
        "planning",
        "coding",
        "review",
        "waiting",
        "revising",
        "repairing",
        "judging",
        "adopting",
        "recording",
        "done",
    }
)


def _expected(stage: Stage, clips: int) -> int:
    match stage:
        case Stage.FULL | Stage.HELD_OUT:
            return FULL_POINTS_PER_CLIP * clips
        case Stage.SCREEN:
            return clips
        case _:
            return 1
