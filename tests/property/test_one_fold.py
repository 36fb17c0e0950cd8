"""A resumed run knows what an uninterrupted one knows, and proposes the same."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evocodec.codec.program import Program, derive_facts
from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus, Origin, Verdict
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Score, ScreenResult, Stage
from evocodec.domain.vocabulary import VerdictRule
from evocodec.search.archive import SearchMode
from evocodec.search.mutation import MutationProposer
from evocodec.search.state import SearchState, new_search_state
from evocodec.store.journal import Journal
from evocodec.store.memory import MemoryLedger
from graph.history import planner_history

RUN = "r"
SEED_PROGRAM = (
    "A = 1  # evolve: int 0..9\nB = 0.3  # evolve: float 0.1..0.9\n"
    'C = "x"  # evolve: choice "x" | "y" | "z"\n'
)
TRIED = ("A", "B", "C")


@dataclass
class Run:
    """Draws the events of one run, several candidates in flight, as the graph would order them."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    programs: dict[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    measured: dict[str, str] = field(default_factory=dict)
    champion: str = ""
    version: int = 0
    ticks: int = 0

    def events(self, most: int) -> list[ev.Event]:
        """The first program alone, then others side by side, some of them left open."""
        found = list(self.candidate(1))
        flying: list[Iterator[ev.Event]] = []
        opened = 1
        for _ in range(self.draw(st.integers(0, most))):
            if not flying or (len(flying) < 3 and self.draw(st.booleans())):
                opened += 1
                flying.append(self.candidate(opened))
            chosen = self.draw(st.integers(0, len(flying) - 1))
            event = next(flying[chosen], None)
            if event is None:
                flying.pop(chosen)
            else:
                found.append(event)
        return found

    def candidate(self, number: int) -> Iterator[ev.Event]:
        """One candidate from its opening to its end."""
        name = f"c{number:04d}"
        parent = self.draw(st.sampled_from(sorted(self.measured))) if number > 1 else ""
        yield self.make(ev.CandidateOpened, name, parent_id=parent, number=number)
        if number > 1 and self.draw(st.integers(0, 9)) == 0:
            yield self.failed(name, 0, "no_code")
            yield self.closed(name, CandidateStatus.TEST_FAILED)
            return
        edits = self.edits() if number > 1 else ()
        origin = Origin.MUTATION if number > 1 else Origin.SEED
        yield self.make(ev.Planned, name, origin=origin, hypothesis=f"try {edits}", edits=edits)
        for attempt in range(3):
            outcome = "evaluated" if number == 1 else self.draw(st.sampled_from(OUTCOMES))
            yield from self.attempt(name, parent, edits, attempt, outcome)
            if outcome in {"screened", "evaluated"}:
                break
            if not self.draw(st.booleans()):  # it is not repaired
                yield self.closed(name, CandidateStatus.TEST_FAILED)
                return
        if outcome == "evaluated":
            yield from self.judged(name, number)
            return
        yield self.verdict(name, "screen")
        yield self.closed(name, CandidateStatus.REJECTED)

    def attempt(
        self, name: str, parent: str, edits: Any, attempt: int, outcome: str
    ) -> Iterator[ev.Event]:
        if outcome == "no_code":
            yield self.failed(name, attempt, "no_code")
            return
        yield self.code(name, parent, edits, attempt, again=outcome == "duplicate")
        if outcome == "duplicate":
            yield self.failed(name, attempt, "duplicate")
            return
        accepted = outcome != "refused"
        yield self.make(ev.Reviewed, name, attempt=attempt, accepted=accepted)
        if not accepted:
            yield self.failed(name, attempt, "review")
            return
        yield self.make(ev.StageStarted, name, attempt=attempt, stage=Stage.SMOKE)
        if outcome == "failed":
            yield self.failed(name, attempt, "timeout")
            return
        if name != "c0001":
            reference = self.champion or sorted(self.measured)[0]
            ratio = self.draw(st.floats(0.7, 1.3))
            result = ScreenResult(ratio, {}, reference, outcome == "evaluated", "")
            yield self.make(ev.Screened, name, attempt=attempt, result=result)
            self.measured[name] = self.measured.get(name, self.written[-1])
        if outcome == "evaluated":
            mbps = self.draw(st.floats(5.0, 20.0))
            yield self.make(ev.Evaluated, name, attempt=attempt, score=score(mbps))
            self.measured[name] = name

    def judged(self, name: str, number: int) -> Iterator[ev.Event]:
        rules = ("bitrate", "not_enough", "baseline" if number == 1 else "overfitted")
        rule = self.draw(st.sampled_from(rules))
        yield self.verdict(name, rule)
        if rule == "bitrate":
            self.version += 1
            self.champion = name
            yield self.make(
                ev.Adopted, name, version=self.version, commit="c", tag="v", pushed=False
            )
            yield self.closed(name, CandidateStatus.ADOPTED)
            return
        if rule == "baseline":
            self.champion = name
        if rule == "overfitted":
            self.measured.pop(name)
        yield self.closed(name, CandidateStatus.REJECTED)

    def code(self, name: str, parent: str, edits: Any, attempt: int, *, again: bool) -> ev.Event:
        values = {"A": "1", "B": "0.3", "C": '"x"', **dict(edits)}
        text = SEED_PROGRAM.replace("A = 1", f"A = {values['A']}")
        text = text.replace("B = 0.3", f"B = {values['B']}").replace(
            'C = "x"', f"C = {values['C']}"
        )
        text += f"REPAIRED = {attempt}\n" if attempt else ""
        if again:
            text = self.programs[self.draw(st.sampled_from(self.written))] + "# another comment\n"
        digest = sha256(text.encode()).hexdigest()
        self.programs[digest] = text
        self.written.append(digest)
        known = self.draw(st.booleans())  # an old ledger, or a new one, or one that was upgraded
        return self.make(
            ev.CodeWritten,
            name,
            attempt=attempt,
            source_sha256=digest,
            program_bytes=len(text),
            facts=derive_facts(text) if known else None,
        )

    def edits(self) -> tuple[tuple[str, str], ...]:
        choices = {
            "A": st.integers(0, 9).map(str),
            "B": st.sampled_from(["0.1", "0.5", "0.9"]),
            "C": st.sampled_from(["'x'", "'y'", "'z'"]),
        }
        names = self.draw(st.lists(st.sampled_from(TRIED), min_size=1, max_size=2, unique=True))
        return tuple((name, self.draw(choices[name])) for name in names)

    def make(self, cls: Any, name: str, **fields: Any) -> ev.Event:
        self.ticks += 1
        at = f"2026-01-02T03:{self.ticks // 60:02}:{self.ticks % 60:02}.000"
        event: ev.Event = cls(run_id=RUN, at=at, candidate_id=name, **fields)
        return event

    def failed(self, name: str, attempt: int, kind: str) -> ev.Event:
        return self.make(
            ev.AttemptFailed,
            name,
            attempt=attempt,
            stage=Stage.REVIEW,
            failure=FailureKind(kind),
            message="m",
        )

    def verdict(self, name: str, rule: str) -> ev.Event:
        return self.make(
            ev.Judged, name, verdict=Verdict(rule == "bitrate", VerdictRule(rule), "", "v0")
        )

    def closed(self, name: str, status: CandidateStatus) -> ev.Event:
        return self.make(
            ev.CandidateClosed, name, status=status, reason="r", experiment_id=f"e{name}"
        )


OUTCOMES = ("no_code", "duplicate", "refused", "failed", "screened", "evaluated", "evaluated")


def score(mbps: float) -> Score:
    return Score(mbps, 400 / mbps, 0.0, "city", 1.0, 1.0, 1.0, 1, 1, ())


@st.composite
def runs(draw: Any) -> tuple[list[ev.Event], dict[str, str]]:
    run = Run(draw)
    return run.events(most=60), run.programs


def new_state(mode: SearchMode, programs: dict[str, str]) -> SearchState:
    return new_search_state(
        mode=mode, seed=5, read_program=programs.__getitem__, derive=derive_facts
    )


def told(state: SearchState, programs: dict[str, str], number: int) -> dict[str, Any]:
    """Everything that decides what a run does next."""
    archive = state.archive
    parent = archive.best()
    try:
        if parent is not None:
            parent = archive.select_parent()
            proposal: Any = MutationProposer(7).propose(
                archive,
                candidate_id=f"c{number:04d}",
                number=number,
                parent_id=parent.candidate_id,
                parent=Program(programs[parent.sha256]),
            )
        else:
            proposal = None
    except CandidateFailure as failure:
        proposal = str(failure)
    return {
        "entries": [(e, dict(e.values)) for e in archive.entries()],
        "pending": {name: dict(values) for name, values in archive.pending.items()},
        "champion": (archive.champion, state.champion.now),
        "best": (archive.best(), archive.best_evaluated()),
        "owners": dict(state.novelty.owners()),
        "parent": parent,
        "proposal": proposal,
        "history": planner_history(state.run, archive, 5),
        "view": state.run.view(),
    }


@settings(deadline=None, max_examples=60)
@given(runs(), st.sampled_from(["mutation", "model"]), st.data())
def test_any_prefix_and_a_resume_equal_the_uninterrupted_run(
    run: tuple[list[ev.Event], dict[str, str]], mode: SearchMode, data: st.DataObject
) -> None:
    events, programs = run
    cut = data.draw(st.integers(0, len(events)), label="events before the resume")
    ledger = MemoryLedger()
    live = new_state(mode, programs)
    journal = Journal(ledger, RUN, live.observe)
    for event in events[:cut]:
        journal.publish(event)
        if data.draw(st.booleans(), label="asked while it goes on"):
            told(live, programs, 99)  # looking changes nothing
    resumed = new_state(mode, programs)
    for _, event in ledger.events(RUN):
        resumed.observe(event)
    assert told(resumed, programs, cut + 2) == told(live, programs, cut + 2)
    journal_after = Journal(ledger, RUN, resumed.observe)
    for event in events[cut:]:
        journal_after.publish(event)
        live.observe(event)
    assert told(resumed, programs, 77) == told(live, programs, 77)


@settings(deadline=None, max_examples=40)
@given(runs())
def test_what_ended_is_never_pending_and_what_is_planned_is_until_it_is_settled(
    run: tuple[list[ev.Event], dict[str, str]],
) -> None:
    events, programs = run
    state = new_state("mutation", programs)
    settled: set[str] = set()
    planned: set[str] = set()
    for event in events:
        state.observe(event)
        if isinstance(event, ev.Planned) and event.edits:
            planned.add(event.candidate_id)
        if isinstance(event, ev.AttemptFailed | ev.Screened | ev.Evaluated | ev.CandidateClosed):
            settled.add(event.candidate_id)
        assert set(state.archive.pending) == planned - settled
        entries = {entry.candidate_id for entry in state.archive.entries()}
        assert planned & settled <= entries
