"""History for the planner: finished experiments of this run, and the version to beat."""

from agents.requests import HistoryItem
from evocodec.domain.results import HEVC_BITRATE_MBPS
from evocodec.domain.vocabulary import VerdictRule
from evocodec.rules.adoption import ChampionFacts
from evocodec.rules.held_out import FAILED_MESSAGE, public_outcome
from evocodec.search.archive import Archive
from evocodec.views.candidate import CandidateView
from evocodec.views.run import RunView
from evocodec.views.run_state import RunState

_OF_THE_GATE = frozenset({VerdictRule.OVERFITTED, VerdictRule.NONDETERMINISTIC})
_HEVC = f"{HEVC_BITRATE_MBPS:.2f}"


def planner_history(
    run: RunState | RunView, archive: Archive, length: int
) -> tuple[HistoryItem, ...]:
    """Return the last ``length`` finished candidates, oldest first; development results only."""
    return tuple(_item(candidate, archive) for candidate in run.finished(length))


def champion_summary(champion: ChampionFacts | None) -> str:
    """Return a text about the version to beat."""
    if champion is None:
        return f"There is no version yet; the comparison is with HEVC at {_HEVC} Mbit/s."
    return (
        f"{champion.version}: {champion.bitrate_mbps:.2f} Mbit/s where HEVC needs {_HEVC} for the "
        f"same quality; compression ratio {champion.compression_ratio:.1f}."
    )


def redacted_reason(candidate: CandidateView) -> str:
    """Reason of a candidate's end, without facts of the held-out gate that agents must not know."""
    verdict = candidate.verdict
    if verdict is None or verdict.rule not in _OF_THE_GATE:
        return candidate.reason
    return public_outcome(candidate.held_out) if candidate.held_out else FAILED_MESSAGE


def _item(candidate: CandidateView, archive: Archive) -> HistoryItem:
    known = archive.find(candidate.candidate_id)
    verdict = candidate.verdict
    return HistoryItem(
        candidate_id=candidate.candidate_id,
        status=candidate.status.value,
        hypothesis=candidate.hypothesis,
        edits=candidate.edits,
        failure=candidate.failure.kind if candidate.failure else "",
        reason=redacted_reason(candidate),
        bitrate_mbps=candidate.score.bitrate_mbps if candidate.score else None,
        estimated_bitrate_mbps=known.estimated_bitrate_mbps if known else None,
        improvement_percent=verdict.improvement_percent if verdict else None,
    )
