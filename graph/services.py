"""Services of the nodes: objects that the composition root passes in."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from agents.team import Team
from evocodec.champions.repository import ChampionRepository
from evocodec.domain.results import Score
from evocodec.evaluation.held_out import HeldOutSample
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.rules.adoption import ChampionFacts, Thresholds
from evocodec.search.archive import Archive
from evocodec.search.novelty import Novelty
from evocodec.store.blobs import BlobStore
from evocodec.store.journal import Journal
from evocodec.store.records import RecordStore
from evocodec.views.run import RunState
from graph.routing import LoopBounds


@dataclass(slots=True)
class CurrentChampion:
    """The version to beat in this run, with numbers measured in this run.

    Adoption is decided and committed under ``lock``, so that two candidates that finish together
    are never both compared with the older version.
    """

    archive: Archive
    lock: threading.Lock = field(default_factory=threading.Lock)
    facts: ChampionFacts | None = None
    candidate_id: str = ""

    def set_champion(self, candidate_id: str, version: str, score: Score) -> None:
        """Make a measured candidate the version to beat."""
        self.candidate_id = candidate_id
        self.archive.set_champion(candidate_id)
        self.facts = ChampionFacts(
            version,
            score.bitrate_mbps,
            score.compression_ratio,
            {clip.clip: clip.candidate_bits for clip in score.clips},
        )


@dataclass(frozen=True, slots=True)
class HeldOutConfig:
    """How the held-out gate draws and decides.

    ``draw`` gives the same clips for the same name within a run, and others for any other; the
    number says how often more were asked for, and none are given when there are no more.
    ``keep`` is the share of a development gain that must survive.
    """

    draw: Callable[[str, int], HeldOutSample]
    keep: float
    confidence: float
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a node may use."""

    run_id: str
    seed: int
    journal: Journal
    run_state: RunState
    blobs: BlobStore
    records: RecordStore
    team: Team
    archive: Archive
    novelty: Novelty
    champions: ChampionRepository
    champion: CurrentChampion
    evaluator: StagedEvaluator
    slots: threading.Semaphore
    stop: threading.Event
    reference_lock: threading.Lock
    bounds: LoopBounds
    history_length: int
    unsafe: bool
    library_codecs_allowed: bool
    imports: tuple[str, ...]
    baselines: tuple[str, ...]
    """Programs that open the run, as source text; the last one is what evolution starts from."""
    held_out: HeldOutConfig | None = None
    """None where the development clips alone decide."""
