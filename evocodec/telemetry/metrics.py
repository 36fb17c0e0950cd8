"""Prometheus metrics of a run, fed by its events alone, in a registry of their own.

Metrics are counted in the controller: a registry inside a Ray worker dies with the worker.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.events import (
    Adopted,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    Evaluated,
    Event,
    InfrastructureRetried,
    ModelCalled,
    PointMeasured,
    Screened,
    StageStarted,
)
from evocodec.domain.results import Score, Stage

_STAGE_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
_MODEL_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)


@dataclass(slots=True)
class _OpenStage:
    stage: Stage
    started: datetime
    last: datetime


class RunMetrics:
    """Subscribe ``observe`` to the bus; calls must not overlap, which the bus sees to.

    ``exposition`` may be called by any thread at any time.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages: dict[str, _OpenStage] = {}
        self._scores: dict[str, Score] = {}
        self._open: set[str] = set()
        self._candidates = self._counter("candidates", "Candidates by how they ended", "status")
        self._failures = self._counter(
            "attempt_failures", "Attempts that ended without metrics", "stage", "failure"
        )
        self._points = self._counter("points", "Rate points measured", "stage")
        self._codec_seconds = self._counter(
            "codec_cpu_seconds", "CPU time of candidates in the sandbox", "step"
        )
        self._retries = self._counter("infrastructure_retries", "Tasks lost and tried again")
        self._calls = self._counter("model_calls", "Model calls", "role", "outcome")
        self._tokens = self._counter("model_tokens", "Tokens", "role", "direction")
        self._cost = self._counter("model_cost_usd", "Money spent on model calls", "role")
        self._adoptions = self._counter("adoptions", "Versions adopted in this run")
        self._in_flight = self._gauge("candidates_in_flight", "Candidates opened and not closed")
        self._best = self._gauge("best_bitrate_mbps", "Lowest fully measured bitrate_mbps")
        self._champion = self._gauge("champion_bitrate_mbps", "bitrate_mbps of the champion")
        self._ratio = self._gauge("champion_compression_ratio", "Compression ratio of the champion")
        self._version = self._gauge("champion_version", "Version number of the champion")
        self._slots_busy = self._gauge("slots_busy", "Tasks that run now")
        self._slots = self._gauge("slots", "Tasks that can run at once")
        self._stage_seconds = Histogram(
            "evocodec_stage_seconds",
            "Wall time of a candidate in a stage",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self._call_seconds = Histogram(
            "evocodec_model_call_seconds",
            "Wall time of a model call with its retries",
            ("role",),
            buckets=_MODEL_BUCKETS,
            registry=self.registry,
        )

    def watch_slots(self, busy: Callable[[], int], total: Callable[[], int]) -> None:
        """Ask these for the slot gauges whenever metrics are read."""
        self._slots_busy.set_function(busy)
        self._slots.set_function(total)

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def observe(self, event: Event) -> None:
        """Count one event."""
        match event:
            case CandidateOpened():
                self._open.add(event.candidate_id)
                self._in_flight.set(len(self._open))
            case CandidateClosed(status=status):
                self._close(event.candidate_id, status)
            case InfrastructureRetried():
                self._retries.inc()
            case ModelCalled():
                self._count_call(event)
            case Adopted(version=version):
                self._adopt(event.candidate_id, version)
            case AttemptFailed(stage=stage, failure=failure):
                self._failures.labels(stage, failure).inc()
                self._end_stage(event.candidate_id, at=event.at)
            case _:
                self._observe_stage(event)

    def _observe_stage(self, event: Event) -> None:
        match event:
            case StageStarted(stage=stage):
                self._end_stage(event.candidate_id)
                now = datetime.fromisoformat(event.at)
                self._stages[event.candidate_id] = _OpenStage(stage, now, now)
            case PointMeasured(stage=stage, point=point):
                self._points.labels(stage).inc()
                self._codec_seconds.labels("encode").inc(point.cost.encode_cpu_seconds)
                self._codec_seconds.labels("decode").inc(point.cost.decode_cpu_seconds)
                if event.candidate_id in self._stages:
                    self._stages[event.candidate_id].last = datetime.fromisoformat(event.at)
            case Screened():
                self._end_stage(event.candidate_id, at=event.at)
            case Evaluated(score=score):
                self._end_stage(event.candidate_id, at=event.at)
                self._scores[event.candidate_id] = score
                lowest = min(known.bitrate_mbps for known in self._scores.values())
                self._best.set(lowest)

    def _end_stage(self, candidate_id: str, *, at: str | None = None) -> None:
        """Close the open stage at its last point, or at the event that says it is over."""
        stage = self._stages.pop(candidate_id, None)
        if stage is not None:
            end = stage.last if at is None else datetime.fromisoformat(at)
            self._stage_seconds.labels(stage.stage).observe((end - stage.started).total_seconds())

    def _close(self, candidate_id: str, status: CandidateStatus) -> None:
        self._end_stage(candidate_id)
        self._candidates.labels(status).inc()
        self._open.discard(candidate_id)
        self._in_flight.set(len(self._open))

    def _count_call(self, event: ModelCalled) -> None:
        self._calls.labels(event.role, event.outcome).inc()
        self._tokens.labels(event.role, "prompt").inc(event.prompt_tokens)
        self._tokens.labels(event.role, "completion").inc(event.completion_tokens)
        self._cost.labels(event.role).inc(event.cost_usd)
        self._call_seconds.labels(event.role).observe(event.wall_seconds)

    def _adopt(self, candidate_id: str, version: int) -> None:
        self._adoptions.inc()
        self._version.set(version)
        score = self._scores.get(candidate_id)
        if score is not None:
            self._champion.set(score.bitrate_mbps)
            self._ratio.set(score.compression_ratio)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"evocodec_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"evocodec_{name}", text, registry=self.registry)
