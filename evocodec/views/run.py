"""Views of runs for people and agents: what a run, a version and an anchor look like."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from evocodec.domain.results import HEVC_BITRATE_MBPS, RdCurve
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import Proposer, RunOutcome, RunPhase
from evocodec.views.candidate import CandidateView


@dataclass(frozen=True, slots=True)
class AnchorView:
    """An anchor's curve for one clip, and its PSNR-Y at the operating rate."""

    curve: RdCurve
    stream: StreamInfo
    operating_psnr_y_db: float
    cached: bool


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version that this run adopted.

    ``improvement_percent`` is how many per cent fewer bits than ``compared_with`` (the version
    before, or HEVC), the smaller figure of development and held-out clips; ``hevc_percent`` is that
    against HEVC on development clips. More is better, below 0 is worse. ``held_out_bitrate_mbps``
    is None where the gate was off.
    """

    version: int
    candidate_id: str
    bitrate_mbps: float | None
    compression_ratio: float | None
    bd_rate_percent: float | None
    encode_fps: float | None
    decode_fps: float | None
    improvement_percent: float | None
    compared_with: str
    hevc_percent: float | None
    commit: str
    tag: str
    pushed: bool
    push_error: str
    adopted_at: str
    hypothesis: str
    held_out_bitrate_mbps: float | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    """Everything that the ledger holds about one run.

    A killed run is ``running`` as far as its events tell. ``outcome`` and ``message`` are those of
    the stop, None and empty before. ``counts`` has every candidate status, ``failures`` every
    failure kind that ended a candidate. ``best`` is the adopted candidate with the lowest bitrate,
    or the evaluated one when none was adopted. ``version_to_beat`` is the name and bitrate of the
    champion, adopted in this run or before it; None for HEVC.
    ``anchors`` are the primary one's curves, ``other_anchors`` those it is compared with besides.
    ``elapsed_seconds`` adds up the sessions of a run, each until its stop or its last event.
    """

    run_id: str = ""
    started_at: str = ""
    last_at: str = ""
    state: RunPhase = RunPhase.EMPTY
    outcome: RunOutcome | None = None
    message: str = ""
    resumed: int = 0
    proposer: Proposer | None = None
    seed: int = 0
    unsafe: bool = False
    clips: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    isolation: Mapping[str, str] = field(default_factory=dict)
    dashboard_url: str = ""
    notice: str = ""
    anchors: tuple[AnchorView, ...] = ()
    other_anchors: tuple[AnchorView, ...] = ()
    candidates: tuple[CandidateView, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    best: CandidateView | None = None
    version_to_beat: tuple[str, float | None] | None = None
    versions: tuple[VersionView, ...] = ()
    points: int = 0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    retries: int = 0
    elapsed_seconds: float = 0.0
    _by_id: dict[str, CandidateView] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def in_flight(self) -> tuple[CandidateView, ...]:
        """Candidates that have not ended."""
        return tuple(candidate for candidate in self.candidates if candidate.running)

    def candidate(self, candidate_id: str) -> CandidateView | None:
        """Return the candidate of that id, or None."""
        if not self._by_id:
            # Made at the first question: most views are only counted and listed.
            self._by_id.update((c.candidate_id, c) for c in self.candidates)
        return self._by_id.get(candidate_id)

    def finished(self, most: int) -> tuple[CandidateView, ...]:
        """Return the last candidates that ended, at most so many, in the order of opening."""
        ended = (candidate for candidate in reversed(self.candidates) if not candidate.running)
        return tuple(islice(ended, most))[::-1]


def hevc_saving_percent(bitrate_mbps: float) -> float:
    """Return how many per cent fewer bits than HEVC, which is 10 Mbit/s by definition."""
    return 100.0 * (1.0 - bitrate_mbps / HEVC_BITRATE_MBPS)
