"""A model that goes away, as a real Prometheus sees and tells it; money and tokens before that."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from evocodec.domain.events import CandidateClosed, Event, ModelCalled, PointMeasured
from evocodec.domain.results import RatePoint
from evocodec.views.run import RunView
from tests.integration.test_model_run import BETTER, by_role, run_with, with_encode
from tests.support import scripted_model as scripted
from tests.support.dashboard_files import RULES, expressions
from tests.support.prometheus_server import Prometheus, free_port, prometheus

ALERT = 'ALERTS{alertname="EvocodecEndpointDown",alertstate="%s"}'
MONEY: dict[str, Any] = {
    "model__price_input_usd_per_million": 3.0,
    "model__price_output_usd_per_million": 15.0,
    "model__budget_usd": 50.0,
    "model__budget_tokens": 1_000_000,
}


@dataclass(frozen=True)
class Watched:
    """A run that lost its endpoint, and the Prometheus that followed it."""

    view: RunView
    calls: tuple[ModelCalled, ...]
    points: tuple[RatePoint, ...]
    server: Prometheus
    well_at: float
    """When the model still answered, and Prometheus had seen that."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder, port = tmp_path_factory.mktemp("endpoint"), free_port()
    rules = folder / "rules.yaml"
    # Nobody waits for twelve minutes here; what is asked stays the same.
    rules.write_text(RULES.read_text().replace("[10m]", "[10s]").replace("for: 2m", "for: 1s"))
    well_at: list[float] = []
    points: list[RatePoint] = []
    with prometheus(folder, f"127.0.0.1:{port}", rules=rules) as server:

        def hold(event: Event) -> None:
            if isinstance(event, PointMeasured):
                points.append(event.point)
            if isinstance(event, CandidateClosed) and event.candidate_id == "c0003":
                server.wait('evocodec_model_calls_total{role="coder",outcome="ok"} == 2')
                well_at[:] = [time.time()]

        greedy = scripted.code(with_encode("while True: yield bytes(1 << 20)"))
        replies = [greedy, scripted.code(BETTER), scripted.drops()]
        # Ray takes a machine's word for its GPUs.
        with (
            pytest.MonkeyPatch.context() as environment,
            scripted.scripted_endpoint([by_role(replies)]) as endpoint,
        ):
            environment.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 1}')
            view, calls = run_with(
                endpoint,
                folder / "w",
                candidates=4,
                listeners=[hold],
                telemetry__metrics_port=port,
                sandbox__output_mib=8,
                ray__gpus_per_task=0.25,
                **MONEY,
            )
        yield Watched(view, calls, tuple(points), server, well_at[0])


def test_the_alert_fires_although_the_run_ended_with_its_endpoint(watched: Watched) -> None:
    assert watched.view.outcome == "endpoint_gone"
    assert watched.server.query(ALERT % "firing", at=watched.well_at) == []
    assert watched.server.wait(ALERT % "firing", seconds=30) == 1
    (target,) = watched.server.targets()
    assert target["health"] == "down"


def test_prometheus_saw_how_the_run_ended(watched: Watched) -> None:
    last = watched.server.value('last_over_time(evocodec_run_state{state="endpoint_gone"}[5m])')
    assert last == 1


def test_calls_tokens_and_money_are_those_of_the_ledger(watched: Watched) -> None:
    def last(series: str) -> float | None:
        return watched.server.value(f"sum(last_over_time({series}[5m]))")

    calls = watched.calls
    assert {call.outcome for call in calls} == {"ok", "connection"}
    assert last('evocodec_model_calls_total{outcome="connection"}') == 1
    assert last('evocodec_model_calls_total{outcome="ok"}') == len(calls) - 1
    assert last("evocodec_model_call_seconds_count") == len(calls)
    assert last("evocodec_model_retries_total") == sum(call.tries - 1 for call in calls) == 1
    prompts = last('evocodec_model_tokens_total{direction="prompt"}')
    assert prompts == sum(call.prompt_tokens for call in calls)
    assert last("evocodec_model_cost_usd_total") == pytest.approx(sum(c.cost_usd for c in calls))
    assert last("evocodec_model_budget_usd") == 50


def test_what_the_sandbox_ended_a_program_for_is_counted_by_kind(watched: Watched) -> None:
    for kind, count in {"output_limit": 1, "forbidden": 0, "memory": 0, "timeout": 0}.items():
        series = f'evocodec_sandbox_violations_total{{kind="{kind}"}}'
        assert watched.server.value(f"last_over_time({series}[5m])") == count, kind
    failures = 'evocodec_attempt_failures_total{stage="smoke",failure="output_limit"}'
    assert watched.server.value(f"last_over_time({failures}[5m])") == 1


def test_gpu_seconds_are_those_set_aside_for_what_was_measured(watched: Watched) -> None:
    seconds = sum(
        point.cost.encode_wall_seconds + point.cost.decode_wall_seconds for point in watched.points
    )
    series = "last_over_time(evocodec_gpu_seconds_total[5m])"
    assert watched.server.value(series) == pytest.approx(0.25 * seconds)
    assert seconds > 0


def test_every_query_of_the_models_dashboard_has_data(watched: Watched) -> None:
    empty = {
        where
        for where, expression in expressions()
        if where.startswith("models/") and not watched.server.query(expression, at=watched.well_at)
    }
    assert empty == set()
