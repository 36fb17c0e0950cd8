"""Experiment records: one plain JSON object per candidate, in the shape users query.

A record says only what is true: a candidate without a score has no metrics, and nothing stands in
for them.
"""

import hashlib
import json
import logging
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, Protocol, TypeAlias, TypedDict, cast

from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.events import CandidateOpened, Event
from evocodec.domain.results import HeldOutResult
from evocodec.store.blobs import write_atomically
from evocodec.store.candidate_view import AttemptView, CandidateView, advance

EXPERIMENT_TYPE = "llm_generated_code_evolution"

_log = logging.getLogger(__name__)
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

JsonObject: TypeAlias = dict[str, Any]


class Metrics(TypedDict, total=False):
    """The user's two numbers; both absent when there is no full evaluation."""

    bitrate_mbps: float
    compression_ratio: float


class Evolution(TypedDict):
    """What came of a candidate; ``version`` is None unless it was adopted.

    ``github_committed`` says that the version is committed to the champion repository;
    ``github_pushed``, that the commit also reached the remote. ``held_out`` holds both numbers of
    the held-out gate, None where it was not asked; it is for people, and no prompt is made of it.
    """

    status: str
    adopted: bool
    version: int | None
    metrics: Metrics
    improvement: str
    summary: str
    github_committed: bool
    github_commit_hash: str
    github_pushed: bool
    reason: str
    rule: str
    failure: JsonObject | None
    held_out: JsonObject | None


class Experiment(TypedDict):
    """One candidate's experiment."""

    experiment_type: str
    status: str
    evolution: Evolution
    candidate: JsonObject


class ExperimentRecord(TypedDict):
    """The item of table ``ai-video-codec-experiments``."""

    experiment_id: str
    timestamp: str
    completed_at: str
    run_id: str
    candidate_id: str
    experiments: list[Experiment]
    unsafe: NotRequired[bool]
    library_codecs_allowed: NotRequired[bool]


class RecordStore(Protocol):
    """Keeps experiment records; any thread and process may call at any time.

    InfrastructureFailure when the storage fails; ValueError for an experiment id that is not 1 to
    128 letters, digits, dots, dashes or underscores.
    """

    def put(self, record: ExperimentRecord) -> None:
        """Keep a record, durably; one with the same id is replaced."""
        ...

    def get(self, experiment_id: str) -> ExperimentRecord | None:
        """Return the record of that id, or None."""
        ...

    def latest(self, n: int) -> tuple[ExperimentRecord, ...]:
        """Return at most ``n`` records, newest timestamp first.

        A store of many machines may show a record here a moment later than ``get`` does.
        """
        ...


def experiment_id(events: Sequence[Event]) -> str:
    """Return the id of a candidate's experiment: the same whenever it is asked for.

    ``real_exp_<epoch seconds of its opening>_<8 hex digits of run and candidate>``. Raises
    ValueError when the opening is not among the events.
    """
    opened = _opened(events)
    seconds = int(_moment(opened.at).timestamp())
    name = f"{opened.run_id}/{opened.candidate_id}".encode()
    return f"real_exp_{seconds}_{hashlib.sha256(name).hexdigest()[:8]}"


def experiment_record(events: Sequence[Event]) -> ExperimentRecord:
    """Return the record of one candidate; events of the run and of other candidates are ignored.

    The candidate is the one opened first. Raises ValueError when none was opened.
    """
    opened = _opened(events)
    view = CandidateView(opened.candidate_id)
    last_at = opened.at
    for event in events:
        if event.candidate_id == opened.candidate_id:
            view = advance(view, event)
            last_at = event.at
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
        "held_out_gain_percent": None if gain is None else _finite(gain),
        "interval_percent": [_finite(interval.low), _finite(interval.high)] if interval else None,
        "interval_level": interval.level if interval else None,
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
    verdict = view.verdict
    if verdict is None or verdict.improvement_percent is None or not _metrics(view):
        return ""
    percent = verdict.improvement_percent
    word = "better" if percent >= 0 else "worse"
    return f"{abs(percent):.1f}% {word} than {verdict.compared_with}"


def _summary(view: CandidateView) -> str:
    score, adoption = view.score, view.adoption
    hypothesis = f" Hypothesis: {view.hypothesis}" if view.hypothesis else ""
    if adoption is not None and score is not None:
        gain = _improvement(view)
        number = f"{score.bitrate_mbps:.2f} Mbit/s where HEVC needs 10.00 for the same quality"
        return f"Adopted as v{adoption.version}: {number}{f', {gain}' if gain else ''}.{hypothesis}"
    words = {
        CandidateStatus.REJECTED: "Rejected",
        CandidateStatus.TEST_FAILED: "Failed its tests",
        CandidateStatus.ADOPTED: "Adopted",
        CandidateStatus.RUNNING: "Running",
    }[view.status]
    return f"{words}{f': {view.reason}' if view.reason else ''}.{hypothesis}".replace("..", ".")


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
        "stages": [stage.value for stage in view.stages],
        "attempts": [_attempt(attempt) for attempt in view.attempts],
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


def _moment(at: str) -> datetime:
    moment = datetime.fromisoformat(at)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _utc_milliseconds(at: str) -> str:
    return _moment(at).astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


class FileRecordStore:
    """A RecordStore in a folder: one ``<experiment_id>.json`` each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # An id keeps its timestamp for ever, so a file's is read once.
        self._timestamps: dict[str, str] = {}

    def put(self, record: ExperimentRecord) -> None:
        """See RecordStore."""
        path = self._path(record["experiment_id"])
        data = json.dumps(record, indent=2, allow_nan=False, ensure_ascii=True).encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data + b"\n")
        except OSError as error:
            raise InfrastructureFailure(
                f"record {path} cannot be written: {error}. Check free space and permissions"
            ) from error
        self._timestamps[record["experiment_id"]] = record["timestamp"]

    def get(self, experiment_id: str) -> ExperimentRecord | None:
        """See RecordStore."""
        path = self._path(experiment_id)
        try:
            return _parse(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InfrastructureFailure(f"record {path} cannot be read: {error}") from error

    def latest(self, n: int) -> tuple[ExperimentRecord, ...]:
        """See RecordStore. A file that is no record is skipped with a log line."""
        if n <= 0:
            return ()
        found: list[tuple[str, str]] = []
        for path in sorted(self.folder.glob("*.json")):
            timestamp = self._timestamp(path)
            if timestamp:
                found.append((timestamp, path.stem))
        newest = sorted(found, reverse=True)[:n]
        records = (self.get(name) for _, name in newest)
        return tuple(record for record in records if record is not None)

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all records, the oldest first."""
        paths = self.folder.glob("*.json")
        found = ((self._timestamp(path), path.stem) for path in paths)
        return tuple(name for timestamp, name in sorted(found) if timestamp)

    def _timestamp(self, path: Path) -> str:
        name = path.stem
        if name not in self._timestamps:
            try:
                self._timestamps[name] = _parse(path.read_bytes())["timestamp"]
            except (OSError, ValueError) as error:
                _log.warning("skipping %s, which is no experiment record: %s", path, error)
                self._timestamps[name] = ""
        return self._timestamps[name]

    def _path(self, experiment_id: str) -> Path:
        check_experiment_id(experiment_id)
        return self.folder / f"{experiment_id}.json"


def check_experiment_id(experiment_id: str) -> None:
    """Raise ValueError unless the id is a safe name."""
    if not _SAFE_ID.fullmatch(experiment_id):
        raise ValueError(f"{experiment_id[:80]!r} is not an experiment id")


def _parse(data: bytes) -> ExperimentRecord:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    missing = {"experiment_id", "timestamp", "experiments"} - value.keys()
    if missing:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    return cast("ExperimentRecord", value)
