"""What the nodes work with: handed in by the composition root, owned by nobody here."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agents.judge import Thresholds
from agents.requests import ChampionFacts
from agents.team import Team
from evocodec.champions.repository import ChampionRepository
from evocodec.domain.errors import SupersededError
from evocodec.domain.events import Event
from evocodec.domain.results import Score
from evocodec.evaluation.held_out import Draw
from evocodec.execution.staged import StagedEvaluator
from evocodec.search.archive import Archive
from evocodec.search.novelty import Novelty
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.store.records import RecordStore
from evocodec.store.views import RunState
from graph.routing import LoopBounds

# What must not be done to a run that another controller has resumed. All else may be recorded: its
# key says what it is of, and whoever comes second finds it there.
_FENCED = frozenset({"candidate_opened", "judged", "candidate_closed", "run_stopped"})


def utc_now() -> str:
    """The present in UTC, ISO 8601 with milliseconds, as events carry it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


class Journal:
    """Records an event once, then tells whoever listens.

    The ledger decides what is new; the lock keeps listeners in the ledger's order. ``successor`` is
    the key of the event with which another controller would take the run over.
    """

    def __init__(
        self,
        ledger: Ledger,
        run_id: str,
        state: RunState,
        listeners: Callable[[Event], None],
    ) -> None:
        self.ledger = ledger
        self.run_id = run_id
        self.state = state
        self.successor = ""
        self._listeners = listeners
        self._lock = threading.Lock()

    def publish(self, event: Event) -> None:
        """Record the event; one that is already known changes nothing and is told to nobody."""
        self.claim(event)

    def claim(self, event: Event) -> bool:
        """Publish the event; False when one of its key was recorded before, here or elsewhere.

        Raises:
            SupersededError: it would begin, judge or end something in a run that went elsewhere.
        """
        if event.kind in _FENCED:
            self.require_ours()
        with self._lock:
            if not self.ledger.record(event):
                return False
            self.state.apply(event)
            self._listeners(event)
            return True

    def require_ours(self) -> None:
        """Check that no other controller has resumed the run meanwhile.

        Raises:
            SupersededError: one has. What both measure is recorded once; only one may go on.
        """
        if self.successor and self.find(self.successor) is not None:
            message = (
                f"{self.run_id} was resumed elsewhere and goes on there; this controller stops. "
                "`evocodec status` shows how it goes"
            )
            raise SupersededError(message)

    def find(self, key: str) -> Event | None:
        """The recorded event of that key in this run."""
        return self.ledger.get(self.run_id, key)


@dataclass(slots=True)
class ChampionBoard:
    """The version to beat in this run, with numbers measured in this run.

    Adoption is decided and committed under ``lock``, so that two candidates that finish together
    are never both compared with the older version.
    """

    archive: Archive
    lock: threading.Lock = field(default_factory=threading.Lock)
    facts: ChampionFacts | None = None
    candidate_id: str = ""

    def crown(self, candidate_id: str, version: str, score: Score) -> None:
        """Make a measured candidate the version to beat."""
        self.candidate_id = candidate_id
        self.archive.crown(candidate_id)
        self.facts = ChampionFacts(
            version,
            score.bitrate_mbps,
            score.compression_ratio,
            {clip.clip: clip.candidate_bits for clip in score.clips},
        )


@dataclass(frozen=True, slots=True)
class HeldOutTerms:
    """How the held-out gate draws and decides.

    ``draw`` gives the same clips for the same name within a run, and others for any other; the
    number says how often more were asked for, and none are given when there are no more.
    ``keep`` is the share of a development gain that must survive.
    """

    draw: Callable[[str, int], Draw]
    keep: float
    confidence: float
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a node may use."""

    run_id: str
    seed: int
    journal: Journal
    blobs: BlobStore
    records: RecordStore
    team: Team
    archive: Archive
    novelty: Novelty
    champions: ChampionRepository
    board: ChampionBoard
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
    held_out: HeldOutTerms | None = None
    """None where the development clips alone decide."""
