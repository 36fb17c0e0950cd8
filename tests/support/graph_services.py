"""Services of the candidate graph for tests: everything in memory but the versions."""

import threading
from pathlib import Path
from typing import Any, cast

from agents.judge import RuleJudge
from agents.team import Team
from evocodec.champions.repository import ChampionRepository
from evocodec.domain.vocabulary import Proposer
from evocodec.rules.adoption import Thresholds
from evocodec.search.archive import Archive
from evocodec.search.state import SearchState
from evocodec.store.journal import Journal
from evocodec.store.memory import MemoryBlobStore, MemoryLedger, MemoryRecordStore
from evocodec.store.programs import ProgramStore
from graph.routing import LoopBounds
from graph.services import HeldOutConfig, Services
from tests.support.default_options import default_thresholds

RUN = "run-1"
_NOBODY = cast(Any, None)


def journal_and_search() -> tuple[Journal, SearchState]:
    """A journal in memory, and the state of the search that follows it."""
    search = SearchState(Archive(seed=1))
    return Journal(MemoryLedger(), RUN, search.observe), search


def judging_services(
    folder: Path,
    journal: Journal,
    search: SearchState,
    thresholds: Thresholds,
    *,
    evaluator: Any = None,
    held_out: HeldOutConfig | None = None,
) -> Services:
    """Services of a run whose candidates come ready-made: only the judge is there."""
    return Services(
        run_id=RUN,
        seed=1,
        journal=journal,
        search=search,
        programs=ProgramStore(MemoryBlobStore(), lambda program: program),
        records=MemoryRecordStore(),
        team=Team(_NOBODY, _NOBODY, _NOBODY, RuleJudge(thresholds), Proposer.SUBMISSION),
        champions=ChampionRepository(folder / "champions"),
        evaluator=evaluator,
        slots=threading.Semaphore(1),
        stop=threading.Event(),
        reference_lock=threading.Lock(),
        bounds=LoopBounds(0, 0),
        history_length=20,
        earlier_runs=(),
        read_text=lambda _sha256: "",
        unsafe=False,
        library_codecs_allowed=False,
        imports=(),
        baselines=(),
        held_out=held_out,
    )


def services_in(folder: Path) -> Services:
    """The same with a new journal and the usual thresholds."""
    journal, search = journal_and_search()
    return judging_services(folder, journal, search, default_thresholds())
