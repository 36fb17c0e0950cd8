"""Display state: the run's view, and the start time of each candidate's present step."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from evocodec.cli.display.lines import Line, describe
from evocodec.domain import events as ev
from evocodec.domain.results import Stage
from evocodec.views.candidate import CandidateView
from evocodec.views.run import RunState, RunView

FULL_POINTS_PER_CLIP = 4  # the fewest that make a usable curve
RECENT_LINES = 12
_RECENT = frozenset({ev.CandidateClosed, ev.InfrastructureRetried})
_SAME_STEP = frozenset({ev.PointMeasured, ev.ModelCalled, ev.InfrastructureRetried})
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

    ``begun`` is False while a resumed run has not gone on yet: what is known is of the past then.
    ``points_before`` are the rate points of earlier sessions, of ``run.points``.
    """

    run: RunView
    steps: tuple[CandidateStep, ...]
    recent: tuple[Line, ...]
    seconds: float
    begun: bool = True
    points_before: int = 0


@dataclass(slots=True)
class Progress:
    """Follows events from any thread; ``clock`` is in seconds and only differences matter.

    An event costs what it changes; a view of the whole run is made when one is drawn.
    """

    clock: Callable[[], float]
    began: float = 0.0
    _state: RunState = field(default_factory=RunState)
    _since: dict[str, tuple[str, float]] = field(default_factory=dict)
    _left: set[str] = field(default_factory=set)
    _begun: bool = True
    _points: int = 0
    _points_before: int = 0
    _recent: deque[ev.Event] = field(default_factory=lambda: deque(maxlen=RECENT_LINES))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def replay(self, events: Iterable[ev.Event]) -> None:
        """Take in what happened before this session: nothing of it is going on now."""
        for event in events:
            self.apply(event)
        with self._lock:
            self._leave_open()
            self._begun = False

    def apply(self, event: ev.Event) -> None:
        """Take in one event."""
        # The display's thread takes a snapshot while candidates' threads report.
        kind = type(event)
        with self._lock:
            if kind is ev.RunStarted:
                self._leave_open()
                self._begun = True
            self._state.apply(event)
            if kind is ev.PointMeasured:
                self._points += 1
            elif kind in _RECENT:
                self._recent.append(event)
            self._left.discard(event.candidate_id)
            if event.candidate_id and kind not in _SAME_STEP:
                self._note_step(event.candidate_id)

    def snapshot(self) -> Snapshot:
        """Return the picture of this moment."""
        with self._lock:
            now = self.clock()
            run = self._state.view()
            clips = max(len(run.clips), 1)
            steps = tuple(self._step(c, now, clips) for c in self._state.in_flight())
            return Snapshot(
                run,
                steps,
                tuple(describe(event) for event in self._recent),
                now - self.began,
                begun=self._begun,
                points_before=self._points_before,
            )

    def _leave_open(self) -> None:
        """Whatever is in flight was left open by an earlier session."""
        self._left = set(self._since)
        self._points_before = self._points

    def _note_step(self, candidate_id: str) -> None:
        activity = self._state.activity(candidate_id)
        if not activity:
            self._since.pop(candidate_id, None)
        elif self._since.get(candidate_id, ("", 0.0))[0] != activity:
            self._since[candidate_id] = (activity, self.clock())

    def _step(self, candidate: CandidateView, now: float, clips: int) -> CandidateStep:
        since = self._since.get(candidate.candidate_id, ("", now))[1]
        if candidate.candidate_id in self._left:
            return CandidateStep(candidate, LEFT_OPEN, None, now - since)
        label, fraction = step_text(candidate, clips=clips)
        return CandidateStep(candidate, label, fraction, now - since)


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
