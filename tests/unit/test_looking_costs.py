"""What looking at a run reads and makes: counted, so that it cannot grow with the run unnoticed."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from evocodec.app.resolver import Resolver
from evocodec.app.workspace import Workspace
from evocodec.codec.program import derive_facts
from evocodec.domain.errors import UserError
from evocodec.domain.events import CandidateOpened, Event
from evocodec.domain.program import ProgramFacts
from evocodec.search.state import new_search_state
from evocodec.store.memory import MemoryBlobStore
from evocodec.views.candidate import CandidateFold, CandidateView
from evocodec.views.run_state import RunState, fold
from evocodec.views.snapshot import Snapshots
from graph.history import planner_history
from tests.support import sample_run as story
from tests.support.counting_ledger import CountingLedger


def recorded(candidates: int) -> CountingLedger:
    """The sample run, and as many candidates more that were only opened."""
    ledger = CountingLedger()
    for event in story.story():
        ledger.record(event)
    for number in range(7, 7 + candidates):
        ledger.record(opened(number))
    return ledger


def opened(number: int) -> CandidateOpened:
    name = f"c{number:04d}"
    return CandidateOpened(
        run_id=story.RUN, at=story.Clock()(), candidate_id=name, parent_id="c0001", number=number
    )


def resolver(ledger: CountingLedger) -> Resolver:
    snapshots = Snapshots(Path("/dev/null"))
    return Resolver(
        ledger, MemoryBlobStore(), lambda: cast(Any, None), Workspace(Path("w")), snapshots
    )


def test_showing_a_candidate_reads_that_candidate_and_not_the_run() -> None:
    small, large = recorded(0), recorded(300)
    shown = [resolver(ledger).excerpt("c0002") for ledger in (small, large)]
    assert shown[0] == shown[1]
    assert small.read == large.read
    own = [e for e in story.story() if e.candidate_id in {"c0002", "c0001", ""}]
    assert large.read == len(own)


def test_an_excerpt_says_of_a_candidate_what_the_whole_run_says() -> None:
    find = resolver(recorded(5))
    whole = find.view(None)
    assert len(whole.candidates) == 11
    for candidate in whole.candidates:
        view, run = find.excerpt(candidate.candidate_id)
        assert view == candidate
        if candidate.screen is not None:
            reference = candidate.screen.reference_id
            assert run.candidate(reference) == whole.candidate(reference)


def test_a_candidate_that_is_not_there_is_told_with_the_last_one() -> None:
    with pytest.raises(UserError, match="its last is c0011"):
        resolver(recorded(5)).excerpt("c0099")


def test_a_view_makes_anew_only_the_candidates_that_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = RunState()
    for number in range(1, 201):
        state.apply(opened(number))
    state.view()
    made: list[str] = []
    view = CandidateFold.view

    def counted(fold: CandidateFold) -> CandidateView:
        made.append(fold.candidate_id)
        return view(fold)

    monkeypatch.setattr(CandidateFold, "view", counted)
    state.apply(opened(201))
    assert len(state.view().candidates) == 201
    assert made == ["c0201"]


def test_what_a_planner_is_told_is_made_of_the_last_candidates_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = new_search_state(
        mode="mutation", seed=1, read_program=lambda _sha: "", derive=derive_facts
    )
    for event in story.story():
        state.observe(event)
    made: list[str] = []
    view = CandidateFold.view

    def counted(fold: CandidateFold) -> CandidateView:
        made.append(fold.candidate_id)
        return view(fold)

    monkeypatch.setattr(CandidateFold, "view", counted)
    history = planner_history(state.run, state.archive, 2)
    assert [item.candidate_id for item in history] == ["c0003", "c0004"]
    assert sorted(made) == ["c0003", "c0004"]


def test_folding_a_ledger_and_picking_a_parent_parses_no_program() -> None:
    def parse(text: str) -> ProgramFacts:
        raise AssertionError(f"{text!r} was parsed")

    state = new_search_state(mode="model", seed=1, read_program=lambda sha: sha, derive=parse)
    for event in story.story():  # its programs were recorded without facts
        state.observe(event)
    assert state.archive.select_parent().candidate_id in {"c0001", "c0004", "c0005"}
    assert state.champion.candidate_id == "c0004"


def test_the_collector_of_cycles_rests_while_a_run_is_folded_and_goes_on_after_it() -> None:
    seen: list[bool] = []

    def events() -> Iterator[Event]:
        for event in story.story():
            seen.append(gc.isenabled())
            yield event

    assert gc.isenabled()
    fold(events())
    assert gc.isenabled()
    assert set(seen) == {False}
    gc.disable()
    try:
        fold(events())
        assert not gc.isenabled()
    finally:
        gc.enable()
