"""Events of a whole run: its beginning, its anchors, its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from evocodec.domain.beginning import Beginning, ClusterFacts, ModelBudget
from evocodec.domain.events.base import EventBase
from evocodec.domain.results import RdCurve
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import Proposer, RunOutcome


def run_started_key(resumed: int) -> str:
    """Return the key of the RunStarted event of a run that was resumed so often."""
    return f"run/started/{resumed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(EventBase):
    """A run was started, or resumed; ``resumed`` counts how often.

    ``settings`` lists all settings as texts, for people; nothing is read back from it.
    ``beginning`` is None in ledgers of versions that kept nothing to resume from.
    """

    kind: Literal["run_started"] = "run_started"
    proposer: Proposer
    seed: int
    clips: tuple[str, ...]
    settings: Mapping[str, str]
    software: Mapping[str, str]
    isolation: Mapping[str, str]
    unsafe: bool = False
    resumed: int = 0
    beginning: Beginning | None = None
    cluster: ClusterFacts = field(default_factory=ClusterFacts)
    budget: ModelBudget = field(default_factory=ModelBudget)
    notice: str = ""

    @property
    def key(self) -> str:
        return run_started_key(self.resumed)


def anchor_key(codec: str, clip: str, clip_sha256: str) -> str:
    """Return the key of the AnchorReady event of one encoder for one clip."""
    return f"anchor/{codec}/{clip}/{clip_sha256[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorReady(EventBase):
    """An anchor's curve for one clip is known.

    ``primary``: the one that scores are made with; any other is only there to be compared with.
    ``operating_psnr_y_db`` is the primary anchor's.
    """

    kind: Literal["anchor_ready"] = "anchor_ready"
    curve: RdCurve
    stream: StreamInfo
    operating_psnr_y_db: float
    cached: bool
    clip_sha256: str
    primary: bool = True

    @property
    def key(self) -> str:
        return anchor_key(self.curve.codec, self.curve.clip, self.clip_sha256)


def run_stopped_key(resumed: int) -> str:
    """Return the key of the RunStopped event of a run that was resumed so often."""
    return f"run/stopped/{resumed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped(EventBase):
    """The run has stopped; ``message`` says why."""

    kind: Literal["run_stopped"] = "run_stopped"
    outcome: RunOutcome
    message: str = ""
    resumed: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return run_stopped_key(self.resumed)
