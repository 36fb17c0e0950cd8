"""History for the planner: finished experiments of this run, and the version to beat."""

from collections.abc import Mapping

from agents.facts import summed_up
from agents.requests import HistoryItem, Measured, Past, RateRow
from evocodec.curves.rd_curve import bits_at_quality
from evocodec.domain.errors import CandidateFailure
from evocodec.domain.results import HEVC_BITRATE_MBPS, RatePoint, RdCurve, Score
from evocodec.domain.vocabulary import VerdictRule
from evocodec.rules.adoption import ChampionFacts
from evocodec.rules.held_out import FAILED_MESSAGE, public_outcome
from evocodec.search.archive import Archive
from evocodec.views.candidate import CandidateView
from evocodec.views.run import RunView
from evocodec.views.run_state import RunState

_OF_THE_GATE = frozenset({VerdictRule.OVERFITTED, VerdictRule.NONDETERMINISTIC})
_MOST_SUMMED_UP = 500  # older candidates
_HEVC = f"{HEVC_BITRATE_MBPS:.2f}"


def planner_history(
    run: RunState | RunView, archive: Archive, length: int
) -> tuple[HistoryItem, ...]:
    """Return the last ``length`` finished candidates, oldest first; development results only."""
    return tuple(_item(candidate, archive) for candidate in run.finished(length))


def past_of(run: RunState, archive: Archive, length: int, *, candidate_id: str = "") -> Past:
    """Return what the last ``length`` candidates do not tell: older ones, and those in flight."""
    recent = run.finished(length + _MOST_SUMMED_UP)
    older = [_item(candidate, archive) for candidate in recent[: max(0, len(recent) - length)]]
    in_flight = tuple(
        candidate.hypothesis
        for candidate in run.in_flight()
        if candidate.hypothesis and candidate.candidate_id != candidate_id
    )
    return Past(older=summed_up(older), in_flight=in_flight)


def measured_of(
    score: Score | None, anchors: Mapping[str, RdCurve], champion: Score | None
) -> Measured:
    """Return the rates of a program with those of HEVC and of the version to beat beside them."""
    if score is None:
        return Measured()
    others = {clip.clip: clip.curve for clip in champion.clips} if champion else {}
    rows = tuple(
        RateRow(
            clip.clip,
            point.quality.psnr_y_db,
            point.bits,
            _ratio(point, anchors.get(clip.clip)),
            _ratio(point, others.get(clip.clip)) if champion is not score else None,
        )
        for clip in score.clips
        for point in clip.curve.points
    )
    costs = [point.cost for clip in score.clips for point in clip.curve.points]
    return Measured(
        rows,
        max((cost.encode_wall_seconds for cost in costs), default=0.0),
        max((cost.decode_wall_seconds for cost in costs), default=0.0),
    )


def _ratio(point: RatePoint, curve: RdCurve | None) -> float | None:
    """Return its bits over those of a curve at its quality; None where the curve has none."""
    if curve is None:
        return None
    try:
        return point.bits / bits_at_quality(curve, point.quality.psnr_y_db)
    except CandidateFailure:
        return None


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
    compared = "" if verdict is None else verdict.compared_with
    if verdict is not None and verdict.rule is VerdictRule.BASELINE:
        compared = ""  # it is that version
    return HistoryItem(
        candidate_id=candidate.candidate_id,
        status=candidate.status.value,
        hypothesis=candidate.hypothesis,
        edits=candidate.edits,
        failure=candidate.failure.kind if candidate.failure else "",
        reason=redacted_reason(candidate),
        bitrate_mbps=candidate.score.bitrate_mbps if candidate.score else None,
        estimated_bitrate_mbps=known.estimated_bitrate_mbps if known else None,
        improvement_percent=verdict.improvement_percent if verdict and compared else None,
        compared_with=compared,
    )
