"""A whole run of the candidate graph, several in flight: what it knows is what its ledger says."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from agents.team import mutation_team
from evocodec.app.run_loop import RunLoop, RunLoopOptions
from evocodec.champions.repository import ChampionRepository
from evocodec.codec.program import Program
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import AttemptFailed, CandidateClosed, Evaluated, Planned, Screened
from evocodec.domain.results import Score, ScreenResult
from evocodec.domain.vocabulary import RunOutcome
from evocodec.sandbox.parser_pool import ParserPool
from evocodec.sandbox.review.analysis import Analyser
from evocodec.search.archive import Archive
from evocodec.search.mutation import MutationProposer
from evocodec.search.state import SearchState
from evocodec.store.journal import Journal
from evocodec.store.memory import MemoryLedger
from graph.build import build_candidate_graph
from graph.services import Services
from tests.support.archive_from_events import score
from tests.support.default_options import default_policy, default_thresholds
from tests.support.graph_services import RUN, services_in

PROGRAM = """A = 1  # evolve: int 0..9
B = 0.3  # evolve: float 0.1..0.9
C = "x"  # evolve: choice "x" | "y" | "z"


def encode(frames, stream, qp):
    yield b""


def decode(packets, stream):
    yield from ()
"""


@dataclass
class ConstantsEvaluator:
    """Measures without a sandbox: bits follow from the program's constants, and some fail."""

    journal: Journal

    def smoke(self, candidate_id: str, attempt: int, program: Program) -> None:
        if self._values(program)["C"] == "'z'":
            raise CandidateFailure(FailureKind.TIMEOUT, "z is slow")

    def screen_points(self, candidate_id: str, *_: Any, **__: Any) -> tuple[str, float]:
        return candidate_id, self._mbps(_[1])

    def screen(
        self, candidate_id: str, attempt: int, program: Program, reference: tuple[str, float]
    ) -> ScreenResult:
        ratio = self._mbps(program) / reference[1]
        result = ScreenResult(ratio, {}, reference[0], ratio < 0.97, "by constants")
        self._record(Screened, candidate_id, attempt=attempt, result=result)
        return result

    def full(self, candidate_id: str, attempt: int, program: Program, _: Any) -> Score:
        found = score(self._mbps(program))
        self._record(Evaluated, candidate_id, attempt=attempt, score=found)
        return found

    def _record(self, cls: Any, candidate_id: str, **fields: Any) -> None:
        self.journal.publish(cls(run_id=RUN, at=utc_now(), candidate_id=candidate_id, **fields))

    def _mbps(self, program: Program) -> float:
        values = self._values(program)
        return 12.0 - 0.4 * int(values["A"]) + 3 * abs(float(values["B"]) - 0.7)

    def _values(self, program: Program) -> dict[str, str]:
        return dict(program.facts.tunables)


def services_of(folder: Path, ledger: MemoryLedger, pool: ParserPool) -> Services:
    """A mutation run on this ledger, folded from what is in it."""
    search = SearchState(Archive(seed=1))
    for _, event in ledger.events(RUN):
        search.observe(event)
    journal = Journal(ledger, RUN, search.observe)
    return replace(
        services_in(folder),
        search=search,
        journal=journal,
        team=mutation_team(
            proposer=MutationProposer(1),
            archive=search.archive,
            analyser=Analyser(default_policy(), pool),
            thresholds=default_thresholds(),
        ),
        evaluator=cast(Any, ConstantsEvaluator(journal)),
        champions=ChampionRepository(folder / "champions"),
        slots=threading.Semaphore(3),
        baselines=(Program(PROGRAM),),
    )


def told(services: Services) -> dict[str, Any]:
    archive = services.archive
    return {
        "entries": [(e, dict(e.values)) for e in archive.entries()],
        "pending": dict(archive.pending),
        "champion": services.champion.now,
        "owners": dict(services.novelty.owners()),
        "parent": archive.select_parent(),
        "view": services.run_state.view(),
    }


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    found = ParserPool(processes=1)
    yield found
    found.close()


def test_what_a_run_knows_is_what_its_ledger_says_of_it(tmp_path: Path, pool: ParserPool) -> None:
    ledger = MemoryLedger()
    live = services_of(tmp_path, ledger, pool)
    options = RunLoopOptions(seconds=600, candidates=30, in_flight=3, finish_seconds=600)
    ended = RunLoop(live, build_candidate_graph(live), options).run()
    assert ended.outcome is RunOutcome.FINISHED, ended.message

    events = [event for _, event in ledger.events(RUN)]
    assert sum(isinstance(event, CandidateClosed) for event in events) == 30
    assert any(isinstance(event, AttemptFailed) for event in events)
    assert live.champion.facts is not None
    assert live.champion.facts.bitrate_mbps < 10
    assert live.archive.pending == {}
    assert told(services_of(tmp_path, ledger, pool)) == told(live)

    plans = [event.edits for event in events if isinstance(event, Planned) and event.edits]
    assert plans
    values = [tuple(sorted(e.values.items())) for e in live.archive.entries()]
    assert len(set(values)) == len(values)  # nobody proposed what another had under way
