"""Ends of a run: what is in flight as the budget is used up, and a baseline that takes too long."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from evocodec.app.run_loop import RunLoop, RunLoopOptions
from evocodec.domain.errors import BudgetExhausted, Interrupted
from evocodec.domain.events import CandidateClosed
from evocodec.domain.vocabulary import RunOutcome
from evocodec.sandbox.parser_pool import ParserPool
from evocodec.store.memory import MemoryLedger
from graph.build import build_candidate_graph
from graph.services import Services
from graph.state import CandidateState
from tests.integration.test_live_fold import services_of


class Graph:
    """The real graph, but the second candidate's model call finds no money left."""

    def __init__(self, services: Services) -> None:
        self._graph = build_candidate_graph(services)
        self._out_of_money = threading.Event()

    def invoke(self, state: CandidateState, config: Any) -> None:
        if state["number"] == 2:
            self._out_of_money.set()
            raise BudgetExhausted("the money budget does not cover another call")
        if state["number"] == 3:
            assert self._out_of_money.wait(60)
        self._graph.invoke(state, config)


class Stuck:
    """A graph whose model never answers."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def invoke(self, state: CandidateState, config: Any) -> None:
        assert self._stop.wait(60)
        raise Interrupted("the run was asked to stop")


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    found = ParserPool(processes=1)
    yield found
    found.close()


def test_candidates_in_flight_end_by_themselves_when_the_budget_is_used_up(
    tmp_path: Path, pool: ParserPool
) -> None:
    ledger = MemoryLedger()
    services = services_of(tmp_path, ledger, pool)
    options = RunLoopOptions(seconds=600, candidates=9, in_flight=2, finish_seconds=600)
    ended = RunLoop(services, cast(Any, Graph(services)), options).run()
    assert ended.outcome is RunOutcome.BUDGET
    closed = [
        e.candidate_id for _, e in ledger.events(services.run_id) if isinstance(e, CandidateClosed)
    ]
    assert "c0003" in closed
    assert "c0002" not in closed


def test_a_baseline_that_takes_too_long_is_left_to_resume(tmp_path: Path, pool: ParserPool) -> None:
    services = services_of(tmp_path, MemoryLedger(), pool)
    options = RunLoopOptions(seconds=0.1, candidates=9, in_flight=2, finish_seconds=0.1)
    ended = RunLoop(services, cast(Any, Stuck(services.stop)), options).run()
    assert ended.message == "time is up; 1 candidate left to resume"
