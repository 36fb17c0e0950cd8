"""The metrics that events fill: names, help texts, labels and buckets."""

import math
import platform
import re
from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from evocodec import __version__
from evocodec.domain.errors import FailureKind
from evocodec.domain.results import Stage
from evocodec.domain.vocabulary import CallOutcome, Layer, ModelRole, Proposer, VerdictRule
from evocodec.telemetry import labels
from evocodec.telemetry.labels import CodingStep, Direction, Family, StageOutcome

_STAGE_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
_MODEL_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_RUN_ID = re.compile(r"run-\d{8}-\d{6}(-[0-9a-f]{1,4})?")

# A series with the time of birth beside every counter: twice the series, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]

Labels = Mapping[str, Iterable[str]]


class Instruments:
    """One run's metrics in a registry of their own; what they mean is in their help texts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._add_search()
        self._add_tasks()
        self._add_safety()
        self._add_models()
        self._add_champion()
        self._add_run()

    def name_run(self, run_id: str, proposer: Proposer) -> None:
        """Say which run this is: the one label that is of no closed list, in one series."""
        self._run_info.clear()
        self._run_info.labels(
            run_id if _RUN_ID.fullmatch(run_id) else labels.OTHER,
            proposer,
        ).set(1)

    def _add_search(self) -> None:
        self.candidates = self._counters(
            "candidates", "Candidates by how they ended", {"status": labels.STATUSES}
        )
        self.in_flight = self._gauge("candidates_in_flight", "Candidates opened and not closed")
        self.stages = self._counters(
            "stages",
            "Stages that candidates came through, were dropped in or failed in",
            {"stage": Stage, "outcome": StageOutcome},
        )
        self.stage_seconds = Family(
            Histogram(
                "evocodec_stage_seconds",
                "Wall time of a candidate in a stage",
                ("stage",),
                buckets=_STAGE_BUCKETS,
                registry=self._registry,
            ),
            {"stage": Stage},
        )
        self.failures = self._counters(
            "attempt_failures",
            "Attempts that ended without metrics",
            {"stage": Stage, "failure": FailureKind},
        )
        self.verdicts = self._counters(
            "verdicts", "Verdicts by the rule that decided", {"rule": VerdictRule}
        )

    def _add_tasks(self) -> None:
        self.points = self._counters("points", "Rate points measured", {"stage": Stage})
        self.cpu_seconds = self._counters(
            "codec_cpu_seconds", "CPU time of candidates in the sandbox", {"step": CodingStep}
        )
        self.gpu_seconds = self._counter(
            "gpu_seconds", "GPU time set aside for encodes and decodes that were measured"
        )
        self.retries = self._counter("infrastructure_retries", "Tasks lost and tried again")
        self.infrastructure_failures = self._counter(
            "infrastructure_failures", "Evaluations given up on for no fault of the program"
        )

    def _add_safety(self) -> None:
        self.violations = self._counters(
            "sandbox_violations", "Programs that the sandbox stopped", {"kind": labels.VIOLATIONS}
        )
        self.findings = self._counters(
            "review_findings",
            "Objections before a program ran",
            {"rule": labels.GATE_RULES},
        )
        self.layers = self._gauges(
            "sandbox_layer", "1 where workers reported the layer as on", {"layer": Layer}
        )
        self.unsafe = self._gauge("run_unsafe", "1 when the run may go below the isolation floor")

    def _add_models(self) -> None:
        self.calls = self._counters(
            "model_calls", "Model calls", {"role": ModelRole, "outcome": CallOutcome}
        )
        self.call_retries = self._counters(
            "model_retries", "Requests to a model beyond a call's first", {"role": ModelRole}
        )
        self.tokens = self._counters(
            "model_tokens", "Tokens", {"role": ModelRole, "direction": Direction}
        )
        self.cost = self._counters(
            "model_cost_usd", "Money spent on model calls", {"role": ModelRole}
        )
        self.call_seconds = Family(
            Histogram(
                "evocodec_model_call_seconds",
                "Wall time of a model call with its retries",
                ("role",),
                buckets=_MODEL_BUCKETS,
                registry=self._registry,
            ),
            {"role": ModelRole},
        )
        self.budget_usd = self._gauge("model_budget_usd", "Money a run may spend; 0: no limit")
        self.budget_tokens = self._gauge("model_budget_tokens", "Tokens of a run; 0: no limit")

    def _add_champion(self) -> None:
        self.adoptions = self._counter("adoptions", "Versions adopted in this run")
        self.best = self._gauge("best_bitrate_mbps", "Lowest fully measured bitrate_mbps")
        self.version = self._gauge("champion_version", "Version number of the champion")
        self.bitrate = self._gauge("champion_bitrate_mbps", "bitrate_mbps of the champion")
        self.held_out = self._gauge(
            "champion_held_out_bitrate_mbps", "bitrate_mbps of the champion on held-out clips"
        )
        self.ratio = self._gauge("champion_compression_ratio", "Compression ratio of the champion")
        self.bd_rate = self._per_anchor(
            "champion_bd_rate_percent",
            "BD-rate of the champion; below 0 means fewer bits than the anchor",
        )
        self.bd_rate_clips = self._per_anchor(
            "champion_bd_rate_clips", "Clips that the BD-rate against an anchor is a mean of"
        )
        self.saving = self._gauge(
            "champion_hevc_saving_percent", "Bits that the champion saves over HEVC"
        )
        self.improvement = self._gauge(
            "champion_improvement_percent", "Bits that the champion saves over the version before"
        )
        unknown = (
            self.best,
            self.bitrate,
            self.held_out,
            self.ratio,
            self.saving,
            self.improvement,
        )
        for gauge in unknown:
            gauge.set(math.nan)  # nothing was measured yet, and 0 Mbit/s would be a sensation

    def _add_run(self) -> None:
        self.state = self._gauges(
            "run_state", "1 for the state that the run is in", {"state": labels.RUN_STATES}
        )
        self.resumed = self._gauge("run_resumed", "How often the run was resumed")
        self.started = self._gauge("run_started_timestamp_seconds", "When the run began")
        self.last_event = self._gauge("last_event_timestamp_seconds", "Time of the last event")
        self.last_progress = self._gauge(
            "last_progress_timestamp_seconds", "Last time that something was measured or closed"
        )
        self._run_info = Gauge(
            "evocodec_run_info", "The run", ("run_id", "proposer"), registry=self._registry
        )
        build = Gauge(
            "evocodec_build_info", "The program", ("version", "python"), registry=self._registry
        )
        build.labels(__version__, platform.python_version()).set(1)

    def _per_anchor(self, name: str, text: str) -> Family[Gauge]:
        gauge = Gauge(f"evocodec_{name}", text, ("anchor",), registry=self._registry)
        return Family(gauge, {"anchor": labels.ANCHORS}, from_zero=False)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"evocodec_{name}", text, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"evocodec_{name}", text, registry=self._registry)

    def _counters(self, name: str, text: str, known: Labels) -> Family[Counter]:
        return Family(Counter(f"evocodec_{name}", text, [*known], registry=self._registry), known)

    def _gauges(self, name: str, text: str, known: Labels) -> Family[Gauge]:
        return Family(Gauge(f"evocodec_{name}", text, [*known], registry=self._registry), known)
