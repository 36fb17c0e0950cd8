"""JSON output of runs and candidates: stable, documented keys, chosen here and nowhere else.

Keys are added, never renamed or removed. Numbers that do not exist are null, never NaN.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evocodec.domain.check import Check
from evocodec.domain.results import ClipScore, RdCurve, Score
from evocodec.domain.video import StreamInfo
from evocodec.views.candidate import CandidateView
from evocodec.views.run import AnchorView, RunView, VersionView

if TYPE_CHECKING:
    from evocodec.app.decode_plan import DecodePlan
    from evocodec.app.outputs import DecodeReport, EncodeReport

Json = dict[str, Any]


def plain(value: Any) -> Any:
    """Return a value as JSON types: dataclasses by field, enums by value, no NaN."""
    match value:
        case Enum():
            found: Any = value.value
        case float() if not math.isfinite(value):
            found = None
        case Fraction() | Path():
            found = str(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            found = {f.name: plain(getattr(value, f.name)) for f in fields(value)}
        case Mapping():
            found = {str(key): plain(item) for key, item in value.items()}
        case tuple() | list():
            found = [plain(item) for item in value]
        case _:
            found = value
    return found


def run_payload(run: RunView) -> Json:
    """Return a run: status, and the last line of ``run --json``."""
    leader = run.version_to_beat
    return {
        "run_id": run.run_id,
        "state": run.state,
        "outcome": run.outcome or "",
        "message": run.message,
        "started_at": run.started_at,
        "last_at": run.last_at,
        "elapsed_seconds": plain(run.elapsed_seconds),
        "resumed": run.resumed,
        "proposer": run.proposer or "",
        "seed": run.seed,
        "unsafe": run.unsafe,
        "clips": list(run.clips),
        "counts": dict(run.counts),
        "failures": dict(run.failures),
        "tasks": run.points,
        "retries": run.retries,
        "model": {
            "calls": run.model_calls,
            "prompt_tokens": run.prompt_tokens,
            "completion_tokens": run.completion_tokens,
            "cost_usd": plain(run.cost_usd),
        },
        "champion": None
        if leader is None
        else {
            "version": leader[0],
            "bitrate_mbps": plain(leader[1]),
            "held_out_bitrate_mbps": plain(_held_out_of(run, leader[0])),
        },
        "best": None if run.best is None else candidate_row(run.best, run),
        "versions": [version_payload(version) for version in run.versions],
        "in_flight": [candidate_row(candidate, run) for candidate in run.in_flight],
        "anchors": [anchor_view_payload(anchor) for anchor in run.anchors],
        "ray_dashboard": run.dashboard_url,
    }


def _held_out_of(run: RunView, tag: str) -> float | None:
    """The bitrate on held-out clips of a version of this run; None for an older one."""
    return next((v.held_out_bitrate_mbps for v in run.versions if v.tag == tag), None)


def version_payload(version: VersionView) -> Json:
    """Return one version of a run."""
    return plain(version)  # type: ignore[no-any-return]


def candidate_row(candidate: CandidateView, run: RunView) -> Json:
    """Return one candidate in brief: a row of ``ls``."""
    score = candidate.score
    return {
        "run_id": run.run_id,
        "candidate_id": candidate.candidate_id,
        "number": candidate.number,
        "parent_id": candidate.parent_id,
        "status": candidate.status.value,
        "activity": candidate.activity,
        "waits": candidate.waits,
        "stage": candidate.stage.value if candidate.stage else None,
        "origin": candidate.origin.value if candidate.origin else None,
        "hypothesis": candidate.hypothesis,
        "bitrate_mbps": plain(score.bitrate_mbps) if score else None,
        "estimated_bitrate_mbps": plain(estimated_mbps(candidate, run)),
        "compression_ratio": plain(score.compression_ratio) if score else None,
        "held_out_bitrate_mbps": plain(candidate.held_out_bitrate_mbps),
        "improvement_percent": plain(candidate.improvement_percent),
        "version": candidate.adoption.version if candidate.adoption else None,
        "failure": candidate.failure.kind if candidate.failure else None,
        "reason": candidate.reason,
        "started_at": candidate.started_at,
        "ended_at": candidate.ended_at,
    }


def candidate_payload(
    candidate: CandidateView, run: RunView, *, record: str, pictures: Sequence[Path] = ()
) -> Json:
    """Return everything about one candidate: ``show``."""
    return {
        **candidate_row(candidate, run),
        "steps": list(candidate.steps),
        "edits": [list(edit) for edit in candidate.edits],
        "attempts": plain(candidate.attempts),
        "failure": plain(candidate.failure),
        "screen": plain(candidate.screen),
        "score": None if candidate.score is None else score_payload(candidate.score),
        "held_out": plain(candidate.held_out),
        "verdict": plain(candidate.verdict),
        "adoption": plain(candidate.adoption),
        "points": plain(candidate.points),
        "model": {
            "calls": candidate.model_calls,
            "prompt_tokens": candidate.prompt_tokens,
            "completion_tokens": candidate.completion_tokens,
            "cost_usd": plain(candidate.cost_usd),
        },
        "retries": candidate.retries,
        "source_sha256": candidate.source_sha256,
        "experiment_id": candidate.experiment_id,
        "record": record,
        "pictures": [str(path) for path in pictures],
    }


def estimated_mbps(candidate: CandidateView, run: RunView) -> float | None:
    """Return the full score, or else the screen's estimate from its reference's bitrate."""
    if candidate.score is not None:
        return candidate.score.bitrate_mbps
    if candidate.screen is None:
        return None
    reference = run.candidate(candidate.screen.reference_id)
    if reference is None or reference.score is None:
        return None
    return candidate.screen.rate_ratio * reference.score.bitrate_mbps


def score_payload(score: Score) -> Json:
    """Return a full evaluation, without the rate points of each curve."""
    whole: Json = plain(score)
    whole["clips"] = [clip_payload(clip) for clip in score.clips]
    whole["verified"] = score.verified
    return whole


def clip_payload(clip: ClipScore) -> Json:
    """Return one clip's comparison with its anchor, and its curve."""
    whole: Json = plain(clip)
    whole["curve"] = curve_payload(clip.curve)
    return whole


def curve_payload(curve: RdCurve) -> list[Json]:
    """Return a curve's points, smallest first."""
    return [
        {
            "qp": plain(point.qp),
            "bits": point.bits,
            "frames": point.frames,
            "psnr_y_db": plain(point.quality.psnr_y_db),
            "psnr_u_db": plain(point.quality.psnr_u_db),
            "psnr_v_db": plain(point.quality.psnr_v_db),
            "psnr_611_db": plain(point.quality.psnr_611_db),
            "ms_ssim": plain(point.quality.ms_ssim),
            "vmaf": plain(point.quality.vmaf),
            "vmaf_neg": plain(point.quality.vmaf_neg),
            "limited_frames": point.quality.limited_frames,
            "worst_frame_psnr_y_db": plain(point.quality.worst_frame_psnr_y_db),
            "verified": point.verified,
        }
        for point in curve.points
    ]


def stream_payload(stream: StreamInfo) -> Json:
    """Return size, rate and length."""
    return {
        "width": stream.width,
        "height": stream.height,
        "fps": float(stream.fps),
        "frames": stream.frame_count,
    }


def anchor_view_payload(anchor: AnchorView) -> Json:
    """Return an anchor as a run knows it."""
    return {
        "codec": anchor.curve.codec,
        "clip": anchor.curve.clip,
        "operating_psnr_y_db": plain(anchor.operating_psnr_y_db),
        "cached": anchor.cached,
        "points": curve_payload(anchor.curve),
    }


def encode_payload(report: "EncodeReport") -> Json:
    """Return what ``encode`` wrote."""
    return {
        "output": str(report.output),
        "version": report.writer,
        **stream_payload(report.stream),
        "bits": report.bits,
        "bitrate_kbps": plain(report.bitrate_kbps),
        "compression_ratio": plain(report.compression_ratio),
        "psnr_y_db": plain(report.psnr_y_db),
        "seconds": plain(report.seconds),
        "notices": list(report.notices),
    }


def decode_payload(report: "DecodeReport") -> Json:
    """Return what ``decode`` wrote."""
    return {
        "output": str(report.output),
        "version": report.writer,
        **stream_payload(report.stream),
        "seconds": plain(report.seconds),
        "output_bytes": report.output_bytes,
        "max_bytes": report.max_bytes,
    }


def decode_plan_payload(plan: "DecodePlan") -> Json:
    """Return what ``decode`` would write."""
    return {
        "output": plan.output,
        "version": plan.writer,
        **stream_payload(plan.stream),
        "packets": plan.packets,
        "file_bytes": plan.file_bytes,
        "output_bytes": plan.output_bytes,
        "max_bytes": plan.max_bytes,
    }


def check_payload(check: "Check") -> Json:
    """Return one line of the doctor."""
    payload: Json = {
        **{"name": check.name, "state": check.state, "detail": check.detail, "fix": check.fix}
    }
    return payload | ({"parts": dict(check.parts)} if check.parts else {})
