"""Services of the nodes: objects that the composition root passes in."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from agents.requests import HistoryItem
from agents.team import Team
from evocodec.champions.repository import ChampionRepository
from evocodec.codec.program import Program
from evocodec.evaluation.held_out import HeldOutSample
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.rules.held_out import HeldOutLimits
from evocodec.search.archive import Archive
from evocodec.search.champion import CurrentChampion
from evocodec.search.novelty import Novelty
from evocodec.search.state import SearchState
from evocodec.store.journal import Journal
from evocodec.store.programs import ProgramStore
from evocodec.store.records import RecordStore
from evocodec.views.run_state import RunState
from graph.routing import LoopBounds


@dataclass(frozen=True, slots=True)
class HeldOutConfig:
    """Settings of the held-out gate, and its clips.

    ``draw`` gives the same clips for the same name within a run, and others for any other; the
    number says how many times more clips were requested; the result is empty when there are no
    more.
    """

    draw: Callable[[str, int], HeldOutSample]
    limits: HeldOutLimits


@dataclass(frozen=True, slots=True)
class Services:
    """Objects that the nodes use."""

    run_id: str
    seed: int
    journal: Journal
    search: SearchState
    programs: ProgramStore
    records: RecordStore
    team: Team
    champions: ChampionRepository
    evaluator: StagedEvaluator
    slots: threading.Semaphore
    stop: threading.Event
    reference_lock: threading.Lock
    bounds: LoopBounds
    history_length: int
    earlier_runs: tuple[HistoryItem, ...]
    """The best of other runs of the workspace, for the planner."""
    read_text: Callable[[str], str]
    """Returns the text of a reply by its hash."""
    unsafe: bool
    library_codecs_allowed: bool
    imports: tuple[str, ...]
    baselines: tuple[Program, ...]
    """Programs that open the run; the last one is what evolution starts from."""
    held_out: HeldOutConfig | None = None
    """None where the development clips alone decide."""

    @property
    def run_state(self) -> RunState:
        """The run so far."""
        return self.search.run

    @property
    def archive(self) -> Archive:
        """Candidates that were measured or failed, and what is pending."""
        return self.search.archive

    @property
    def novelty(self) -> Novelty:
        """Programs seen so far, and the candidate that had each one first."""
        return self.search.novelty

    @property
    def champion(self) -> CurrentChampion:
        """The version to beat."""
        return self.search.champion

    def program_of(self, candidate_id: str) -> Program:
        """The program of a candidate in the archive; raises LookupError where it has none."""
        sha256 = self.archive.get(candidate_id).sha256
        if not sha256:
            raise LookupError(f"{candidate_id} never had a program")
        return self.programs.get(sha256)
