"""A view that goes on from a snapshot is the view of the whole run, whatever became of the file."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.vocabulary import VerdictRule
from evocodec.store.memory import MemoryLedger
from evocodec.views.progress import Progress, ProgressFacts, Snapshot
from evocodec.views.run_state import fold
from evocodec.views.snapshot import Snapshots
from tests.support import sample_run as story
from tests.support.sample_events import one_of_each_kind

NOWHERE = Path("/dev/null")  # no folder can be made below it, and no file written
STORY = story.finished()
KNOWN = [*one_of_each_kind(), *STORY]
NAMES = sorted({event.candidate_id for event in STORY} - {""})


@st.composite
def recorded(draw: Any) -> list[ev.Event]:
    """A run in which some events are missing, and others of any kind came at any moment."""
    gone = draw(st.sets(st.integers(0, len(STORY) - 1), max_size=10))
    found = [event for index, event in enumerate(STORY) if index not in gone]
    for event in draw(st.lists(st.sampled_from(KNOWN), max_size=10)):
        place = draw(st.integers(0, len(found) - 1))
        name = draw(st.sampled_from(NAMES)) if event.candidate_id else ""
        other = replace(event, run_id=story.RUN, at=found[place].at, candidate_id=name)
        found.insert(place, varied(draw, other))
    return found


def varied(draw: Any, event: ev.Event) -> ev.Event:
    """The event with another number of its own, so that many of a kind have a place in a ledger."""
    number = draw(st.integers(0, 3))
    match event:
        case ev.RunStarted() | ev.RunStopped():
            return replace(event, resumed=number)
        case ev.CandidateClosed():
            ends = [status for status in CandidateStatus if status is not CandidateStatus.RUNNING]
            return replace(event, status=draw(st.sampled_from(ends)))
        case ev.Judged():
            verdict = replace(event.verdict, rule=draw(st.sampled_from(VerdictRule)))
            return replace(event, verdict=replace(verdict, compared_with=f"v{number}"))
        case ev.Evaluated():
            score = replace(event.score, bitrate_mbps=draw(st.floats(5, 20)))
            return replace(event, attempt=number, score=score)
        case _ if hasattr(event, "attempt"):
            return replace(event, attempt=number)
    return event


def followed(folder: Path, ledger: MemoryLedger, *, worth: int = 1) -> tuple[int, Progress]:
    progress = Progress()
    return Snapshots(folder, worth=worth).follow(ledger, story.RUN, progress), progress


def told(
    reached: int, progress: Progress
) -> tuple[int, Snapshot, ProgressFacts, dict[str, list[str]]]:
    """All that a view, a panel and the next snapshot are made from; order counts in dicts too."""
    facts = progress.facts()
    order = {name: [str(key) for key in mapping] for name, mapping in mappings(facts).items()}
    return reached, progress.snapshot(), facts, order


def mappings(facts: ProgressFacts) -> dict[str, Any]:
    view = facts.run.view
    return {"failures": view.failures, "counts": view.counts, "since": facts.since}


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "no first line": lambda data: data.partition(b"\n")[2],
    "no JSON": lambda data: b"\xff\x00\n" + data,
    "a number changed": lambda data: data.replace(b'"points":', b'"points":1', 1),
    "other code": lambda data: data.replace(b"views of ", b"views of 0", 1),
    "nested deeply": lambda data: b"[" * 100_000,
}


@settings(deadline=None, max_examples=30)
@given(recorded(), st.data())
def test_views_from_a_snapshot_are_those_of_all_events(
    events: list[ev.Event], data: st.DataObject
) -> None:
    ledger = MemoryLedger()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / f"{story.RUN}.json"
        cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=2), label="looks after")
        for start, end in pairwise([0, *sorted(cuts), len(events)]):
            for event in events[start:end]:
                ledger.record(event)
            whole = told(*followed(NOWHERE, ledger))
            worth = data.draw(st.integers(1, 6), label="events that are worth a snapshot")
            assert told(*followed(folder, ledger, worth=worth)) == whole
            damage = data.draw(st.sampled_from(sorted(DAMAGE)), label="what happens to the file")
            if file.exists():
                file.write_bytes(DAMAGE[damage](file.read_bytes()))
            assert told(*followed(folder, ledger)) == whole
        assert followed(folder, ledger)[1].view() == fold(e for _, e in ledger.events(story.RUN))
