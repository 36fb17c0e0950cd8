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


@dataclass(frozen=True, slots=True)
class Step:
    """What one candidate is doing; ``fraction`` only where the number of tasks is known."""

    candidate: CandidateView
    words: str
    fraction: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent picture of the run for one drawing."""

    run: RunView
    steps: tuple[Step, ...]
    recent: tuple[Line, ...]
    seconds: float


@dataclass(slots=True)
class Progress:
    """Follows events from any thread; ``clock`` is in seconds and only differences matter."""

    clock: Callable[[], float]
    began: float = 0.0
    _state: RunState = field(default_factory=RunState)
    _view: RunView = field(default_factory=RunView)
    _since: dict[str, tuple[str, float]] = field(default_factory=dict)
    _recent: deque[Line] = field(default_factory=lambda: deque(maxlen=RECENT_LINES))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def replay(self, events: Iterable[ev.Event]) -> None:
        """Take in what happened before this session."""
        for event in events:
            self.apply(event)

    def apply(self, event: ev.Event) -> None:
        """Take in one event."""
        # The display's thread takes a snapshot while candidates' threads report.
        with self._lock:
            self._state.apply(event)
            self._view = self._state.view()
            if event.candidate_id:
                self._note_step(event.candidate_id)
            if isinstance(event, ev.CandidateClosed | ev.InfrastructureRetried):
                self._recent.append(describe(event))

    def snapshot(self) -> Snapshot:
        """Return the picture of this moment."""
        with self._lock:
            now = self.clock()
            steps = tuple(self._step(c, now) for c in self._view.in_flight)
            return Snapshot(self._view, steps, tuple(self._recent), now - self.began)

    def _note_step(self, candidate_id: str) -> None:
        candidate = self._view.candidate(candidate_id)
        if candidate is None or not candidate.running:
            self._since.pop(candidate_id, None)
        elif self._since.get(candidate_id, ("", 0.0))[0] != candidate.activity:
            self._since[candidate_id] = (candidate.activity, self.clock())

    def _step(self, candidate: CandidateView, now: float) -> Step:
        since = self._since.get(candidate.candidate_id, ("", now))[1]
        words, fraction = step_words(candidate, clips=max(len(self._view.clips), 1))
        return Step(candidate, words, fraction, now - since)


def step_words(candidate: CandidateView, *, clips: int) -> tuple[str, float | None]:
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
