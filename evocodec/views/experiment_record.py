"""Experiment record of a candidate, computed from its events."""

import hashlib
import math
from collections.abc import Sequence

from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.clock import parse_time
from evocodec.domain.events import CandidateOpened, Event
from evocodec.domain.results import (
    HEVC_BITRATE_MBPS,
    HeldOutResult,
)
from evocodec.store.records import (
    Evolution,
    Experiment,
    ExperimentRecord,
    JsonObject,
    Metrics,
)
from evocodec.views.candidate import AttemptView, CandidateFold, CandidateView

EXPERIMENT_TYPE = "llm_generated_code_evolution"


def experiment_id(events: Sequence[Event]) -> str:
    """Return the id of a candidate's experiment; it never changes.

    ``real_exp_<epoch seconds of its opening>_<8 hex digits of run and candidate>``. Raises
    ValueError when the opening is not among the events.
    """
    opened = _opened(events)
    seconds = int(parse_time(opened.at).timestamp())
    name = f"{opened.run_id}/{opened.candidate_id}".encode()
    return f"real_exp_{seconds}_{hashlib.sha256(name).hexdigest()[:8]}"


def experiment_record(events: Sequence[Event]) -> ExperimentRecord:
    """Return the record of one candidate; events of the run and of other candidates are ignored.

    The candidate is the one opened first. Raises ValueError when none was opened.
    """
    opened = _opened(events)
    candidate = CandidateFold(opened.candidate_id)
    last_at = opened.at
    for event in events:
        if event.candidate_id == opened.candidate_id:
            candidate.apply(event)
            last_at = event.at
    view = candidate.view()
    return ExperimentRecord(
        experiment_id=view.experiment_id or experiment_id(events),
        timestamp=_utc_milliseconds(opened.at),
        completed_at=_utc_milliseconds(last_at),
        run_id=opened.run_id,
        candidate_id=opened.candidate_id,
        experiments=[
            Experiment(
                experiment_type=EXPERIMENT_TYPE,
                status="running" if view.running else "completed",
                evolution=_evolution(view),
                candidate=_candidate(view),
            )
        ],
    )


def _evolution(view: CandidateView) -> Evolution:
    adoption, verdict, failure = view.adoption, view.verdict, view.failure
    return Evolution(
        status=view.status.value,
        adopted=adoption is not None,
        version=adoption.version if adoption else None,
        metrics=_metrics(view),
        improvement=_improvement(view),
        summary=_summary(view),
        github_committed=adoption is not None,
        github_commit_hash=adoption.commit if adoption else "",
        github_pushed=bool(adoption and adoption.pushed),
        reason=view.reason,
        rule=verdict.rule if verdict else "",
        failure=None
        if failure is None
        else {"kind": failure.kind, "stage": failure.stage.value, "message": failure.message},
        held_out=_held_out(view.held_out),
    )


def _held_out(result: HeldOutResult | None) -> JsonObject | None:
    if result is None:
        return None
    gain, interval = result.held_out_gain_percent, result.interval_percent
    return {
        "passed": result.passed,
        "reason": result.reason,
        "compared_with": result.compared_with,
        "development_gain_percent": _finite(result.development_gain_percent),
        "held_out_gain_percent": _finite_or_none(gain),
        "interval_percent": [_finite(interval.low), _finite(interval.high)] if interval else None,
        "interval_level": interval.level if interval else None,
        "bitrate_mbps": _finite_or_none(result.bitrate_mbps),
        "development_bitrate_mbps": _finite_or_none(result.development_bitrate_mbps),
        "excess_percent": _finite_or_none(result.excess_percent),
        "clips": result.clips,
        "seed_sha256": result.seed_sha256,
    }


def _metrics(view: CandidateView) -> Metrics:
    if view.score is None or view.status is CandidateStatus.TEST_FAILED:
        return Metrics()
    bitrate_mbps = _finite(view.score.bitrate_mbps)
    compression_ratio = _finite(view.score.compression_ratio)
    if bitrate_mbps is None or compression_ratio is None:
        return Metrics()
    return Metrics(bitrate_mbps=bitrate_mbps, compression_ratio=compression_ratio)


def _improvement(view: CandidateView) -> str:
    verdict, percent = view.verdict, view.improvement_percent
    if verdict is None or percent is None or not _metrics(view):
        return ""
    word = "better" if percent >= 0 else "worse"
    return f"{abs(percent):.1f}% {word} than {verdict.compared_with}"


def _summary(view: CandidateView) -> str:
    score, adoption = view.score, view.adoption
    hypothesis = f" Hypothesis: {view.hypothesis}" if view.hypothesis else ""
    if adoption is not None and score is not None:
        gain = _improvement(view)
        number = (
            f"{score.bitrate_mbps:.2f} Mbit/s where HEVC needs {HEVC_BITRATE_MBPS:.2f} "
            "for the same quality"
        )
        if view.held_out_bitrate_mbps is not None:
            number += f" ({view.held_out_bitrate_mbps:.2f} on held-out clips)"
        return f"Adopted as v{adoption.version}: {number}{f', {gain}' if gain else ''}.{hypothesis}"
    texts = {
        CandidateStatus.REJECTED: "Rejected",
        CandidateStatus.TEST_FAILED: "Failed its tests",
        CandidateStatus.ADOPTED: "Adopted",
        CandidateStatus.RUNNING: "Running",
    }[view.status]
    return f"{texts}{f': {view.reason}' if view.reason else ''}.{hypothesis}".replace("..", ".")


def _candidate(view: CandidateView) -> JsonObject:
    screen = view.screen
    return {
        "number": view.number,
        "parent_id": view.parent_id,
        "origin": view.origin.value if view.origin else "",
        "hypothesis": view.hypothesis,
        "steps": list(view.steps),
        "edits": [{"name": name, "value": value} for name, value in view.edits],
        "source_sha256": view.source_sha256,
        "model": view.model,
        "stages": [stage.value for stage in view.stages],
        "attempts": [_attempt(attempt) for attempt in view.attempts],
        "verified": view.score.verified if view.score else None,
        "charged_program_bytes": view.score.charged_program_bytes if view.score else None,
        "screen_rate_ratio": _finite(screen.rate_ratio) if screen else None,
        "model_calls": view.model_calls,
        "prompt_tokens": view.prompt_tokens,
        "completion_tokens": view.completion_tokens,
        "cost_usd": round(view.cost_usd, 6),
        "infrastructure_retries": view.retries,
    }


def _attempt(attempt: AttemptView) -> JsonObject:
    failure = attempt.failure
    return {
        "attempt": attempt.attempt,
        "source_sha256": attempt.source_sha256,
        "program_bytes": attempt.program_bytes,
        "findings": [
            {"rule": finding.rule, "line": finding.line, "message": finding.message}
            for review in attempt.reviews
            for finding in review.findings
        ],
        "failure": f"{failure.kind}: {failure.message}" if failure else "",
    }


def _opened(events: Sequence[Event]) -> CandidateOpened:
    for event in events:
        if isinstance(event, CandidateOpened):
            return event
    raise ValueError("these events open no candidate, so there is no experiment to record")


def _utc_milliseconds(at: str) -> str:
    return parse_time(at).replace(tzinfo=None).isoformat(timespec="milliseconds")


def _finite_or_none(value: float | None) -> float | None:
    return None if value is None else _finite(value)


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
