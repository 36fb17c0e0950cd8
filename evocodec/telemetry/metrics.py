"""Prometheus metrics of a run, fed by its events alone, in a registry of their own.

Metrics are counted in the controller: a registry inside a Ray worker would be lost with the worker.
The same events give the same figures, so a resumed run that has replayed its past continues the
counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from evocodec.domain.candidate import CandidateStatus, Verdict
from evocodec.domain.clock import parse_time
from evocodec.domain.events import (
    Adopted,
    AnchorReady,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    Evaluated,
    Event,
    HeldOutTested,
    InfrastructureRetried,
    Judged,
    ModelCalled,
    PointMeasured,
    Reviewed,
    RunStarted,
    RunStopped,
    Screened,
    StageStarted,
)
from evocodec.domain.results import (
    HEVC_BITRATE_MBPS,
    HeldOutResult,
    RatePoint,
    Score,
    Stage,
    proven_percent,
)
from evocodec.domain.vocabulary import RunOutcome, RunPhase, VerdictRule
from evocodec.telemetry import labels
from evocodec.telemetry.champion import BdRateOf, ChampionRates, no_comparison
from evocodec.telemetry.instruments import Instruments
from evocodec.telemetry.labels import CodingStep, Direction, StageOutcome, rule_label

_PROGRESS = (PointMeasured, Screened, Evaluated, HeldOutTested, CandidateClosed)


@dataclass(slots=True)
class _OpenStage:
    stage: Stage
    started: datetime
    last: datetime


class RunMetrics:
    """Subscribe ``observe`` to the bus; calls must not overlap, which the bus sees to.

    ``exposition`` may be called by any thread at any time. ``bd_rate`` compares two curves, which
    the figures against anchors other than the primary one need.
    """

    def __init__(self, bd_rate: BdRateOf = no_comparison) -> None:
        self.registry = CollectorRegistry()
        self._show = Instruments(self.registry)
        self._rates = ChampionRates(self._show.bd_rate, self._show.bd_rate_clips, bd_rate)
        self._stages: dict[str, _OpenStage] = {}
        self._scores: dict[str, Score] = {}
        self._lowest = math.inf
        self._verdicts: dict[str, Verdict] = {}
        self._held_out: dict[str, HeldOutResult] = {}
        self._open: set[str] = set()
        self._gpus_per_task = 0.0
        self._running = False
        self._live: list[Gauge] = []

    def watch_slots(
        self,
        busy: Callable[[], int],
        total: Callable[[], int],
        *,
        tasks_waiting: Callable[[], int] = lambda: 0,
        proposals_waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        """Ask these for the slot gauges whenever metrics are read, until ``leave_slots``."""
        asked = {
            "slots_busy": ("Tasks that run now", busy),
            "slots": ("Tasks that can run at once", total),
            "tasks_waiting": ("Tasks that wait for a slot", tasks_waiting),
            "proposals_waiting": ("Reviewed programs that wait for evaluation", proposals_waiting),
        }
        for name, (text, function) in asked.items():
            gauge = Gauge(f"evocodec_{name}", text, registry=self.registry)
            gauge.set_function(function)
            self._live.append(gauge)

    def leave_slots(self) -> None:
        """Stop reading slots: the engine is about to close."""
        for gauge in self._live:
            self.registry.unregister(gauge)
        self._live.clear()

    def infrastructure_failed(self) -> None:
        """Count an evaluation that failed for infrastructure reasons; no event records it."""
        self._show.infrastructure_failures.inc()

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def observe(self, event: Event) -> None:
        """Count one event."""
        seconds = parse_time(event.at).timestamp()
        self._show.last_event.set(seconds)
        if isinstance(event, _PROGRESS) or (isinstance(event, AnchorReady) and event.primary):
            self._show.last_progress.set(seconds)
        match event:
            case RunStarted():
                self._begin(event)
            case RunStopped(outcome=outcome):
                self._enter_state(outcome)
            case AnchorReady():
                self._rates.learn(event)
            case ModelCalled():
                self._count_call(event)
            case InfrastructureRetried():
                self._show.retries.inc()
            case CandidateOpened():
                self._open.add(event.candidate_id)
                self._show.in_flight.set(len(self._open))
            case CandidateClosed(status=status):
                self._close(event.candidate_id, status)
            case _:
                self._observe_candidate(event)

    def _observe_candidate(self, event: Event) -> None:
        match event:
            case Reviewed(accepted=accepted):
                self._count_review(event)
                if accepted:
                    self._end_as(Stage.REVIEW, StageOutcome.PASSED)
            case Judged(verdict=verdict):
                self._show.verdicts.of(verdict.rule).inc()
                self._verdicts[event.candidate_id] = verdict
                if verdict.rule is VerdictRule.BASELINE:
                    self._set_champion(event.candidate_id, verdict.compared_with)
            case Adopted(version=version):
                self._show.adoptions.inc()
                self._set_champion(event.candidate_id, f"v{version}")
            case AttemptFailed(stage=stage, failure=failure):
                self._show.failures.of(stage, failure).inc()
                if failure in labels.VIOLATIONS:
                    self._show.violations.of(failure).inc()
                self._end_stage(event.candidate_id, at=event.at)
                self._end_as(stage, StageOutcome.FAILED)
            case _:
                self._observe_stage(event)

    def _observe_stage(self, event: Event) -> None:
        match event:
            case StageStarted(stage=stage):
                before = self._end_stage(event.candidate_id)
                if before is Stage.SMOKE and stage is not Stage.SMOKE:
                    self._end_as(Stage.SMOKE, StageOutcome.PASSED)  # it has no event of its own
                now = parse_time(event.at)
                self._stages[event.candidate_id] = _OpenStage(stage, now, now)
            case PointMeasured(stage=stage, point=point):
                self._show.points.of(stage).inc()
                self._count_cost(point)
                if event.candidate_id in self._stages:
                    self._stages[event.candidate_id].last = parse_time(event.at)
            case Screened(result=result):
                self._end_stage(event.candidate_id, at=event.at)
                self._end_as(Stage.SCREEN, _gate_outcome(result.passed))
            case Evaluated(score=score):
                self._end_stage(event.candidate_id, at=event.at)
                self._end_as(Stage.FULL, StageOutcome.PASSED)
                self._scores[event.candidate_id] = score
                self._lowest = min(self._lowest, score.bitrate_mbps)
                self._show.best.set(self._lowest)
            case HeldOutTested(result=held_out):
                self._end_stage(event.candidate_id, at=event.at)
                self._end_as(Stage.HELD_OUT, _gate_outcome(held_out.passed))
                self._held_out[event.candidate_id] = held_out

    def _begin(self, event: RunStarted) -> None:
        show = self._show
        show.name_run(event.run_id, event.proposer)
        if not event.resumed:
            show.started.set(parse_time(event.at).timestamp())
        show.last_progress.set(parse_time(event.at).timestamp())
        show.resumed.set(event.resumed)
        show.unsafe.set(event.unsafe)
        for layer, state in event.isolation.items():
            show.layers.of(layer).set(not state.startswith("off"))
        show.budget_usd.set(event.budget.usd)
        show.budget_tokens.set(event.budget.tokens)
        self._gpus_per_task = event.cluster.gpus_per_task
        self._enter_state(RunPhase.RUNNING)

    def note_gone(self) -> None:
        """Leave the state of a run whose controller is gone, and recorded no stop."""
        if self._running:
            self._enter_state(RunOutcome.INTERRUPTED)

    def _enter_state(self, state: RunPhase | RunOutcome) -> None:
        for known in labels.RUN_STATES:
            self._show.state.of(known).set(0)
        self._show.state.of(state).set(1)
        self._running = state is RunPhase.RUNNING

    def _count_review(self, event: Reviewed) -> None:
        for finding in event.findings:
            self._show.findings.of(rule_label(finding.rule)).inc()

    def _count_cost(self, point: RatePoint) -> None:
        cost = point.cost
        self._show.cpu_seconds.of(CodingStep.ENCODE).inc(cost.encode_cpu_seconds)
        self._show.cpu_seconds.of(CodingStep.DECODE).inc(cost.decode_cpu_seconds)
        wall_seconds = cost.encode_wall_seconds + cost.decode_wall_seconds
        self._show.gpu_seconds.inc(self._gpus_per_task * wall_seconds)

    def _end_as(self, stage: Stage, outcome: StageOutcome) -> None:
        self._show.stages.of(stage, outcome).inc()

    def _end_stage(self, candidate_id: str, *, at: str | None = None) -> Stage | None:
        """Close the open stage at its last point, or at the event that says it is over."""
        stage = self._stages.pop(candidate_id, None)
        if stage is None:
            return None
        end = stage.last if at is None else parse_time(at)
        self._show.stage_seconds.of(stage.stage).observe((end - stage.started).total_seconds())
        return stage.stage

    def _close(self, candidate_id: str, status: CandidateStatus) -> None:
        self._end_stage(candidate_id)
        self._show.candidates.of(status).inc()
        self._open.discard(candidate_id)
        self._scores.pop(candidate_id, None)
        self._verdicts.pop(candidate_id, None)
        self._held_out.pop(candidate_id, None)
        self._show.in_flight.set(len(self._open))

    def _count_call(self, event: ModelCalled) -> None:
        show, role = self._show, event.role
        show.calls.of(role, event.outcome).inc()
        show.call_retries.of(role).inc(max(0, event.tries - 1))
        show.tokens.of(role, Direction.PROMPT).inc(event.prompt_tokens)
        show.tokens.of(role, Direction.COMPLETION).inc(event.completion_tokens)
        show.cost.of(role).inc(event.cost_usd)
        show.call_seconds.of(role).observe(event.wall_seconds)

    def _set_champion(self, candidate_id: str, version: str) -> None:
        self._show.version.set(_number(version.removeprefix("v")))
        verdict, held_out = self._verdicts.get(candidate_id), self._held_out.get(candidate_id)
        improvement = proven_percent(verdict.improvement_percent if verdict else None, held_out)
        if improvement is not None:
            self._show.improvement.set(improvement)
        unseen = held_out.bitrate_mbps if held_out else None
        self._show.held_out.set(math.nan if unseen is None else unseen)
        score = self._scores.get(candidate_id)
        if score is not None:
            self._show.bitrate.set(score.bitrate_mbps)
            self._show.ratio.set(score.compression_ratio)
            self._rates.set_champion(score)
            self._show.saving.set(100.0 * (1.0 - score.bitrate_mbps / HEVC_BITRATE_MBPS))


def _gate_outcome(passed: bool) -> StageOutcome:
    return StageOutcome.PASSED if passed else StageOutcome.DROPPED


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
