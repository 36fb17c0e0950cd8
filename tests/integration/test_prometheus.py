"""Metrics of a real run as a real Prometheus keeps them: live, after a resume, from the ledger."""

import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from evocodec.app import Laboratory
from evocodec.app.recorded_metrics import RecordedMetrics
from evocodec.app.runs import perform_run
from evocodec.curves.bd_rate import bd_rate
from evocodec.domain.errors import UserError
from evocodec.domain.events import Adopted, CandidateClosed, Event
from evocodec.telemetry.server import MetricsServer
from evocodec.views.run import RunView
from tests.support.dashboard_files import ROOT, RULES, alerts, expressions, metric_names
from tests.support.prometheus_server import Prometheus, free_port, prometheus
from tests.support.toy_laboratory import laboratory

ANCHORS = ("x265-medium", "x264-medium", "svt-av1-p8")


@dataclass(frozen=True)
class Watched:
    """A run that was scraped while it went on, and what the scrapes said of it."""

    view: RunView
    server: Prometheus
    opened: Laboratory
    served: str
    seen_at: float
    """When the run still went on, and Prometheus had seen its last candidate."""

    def last(self, series: str) -> float | None:
        """The newest value that was scraped."""
        return self.server.value(f"last_over_time({series}[5m])")


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return str(reply.read().decode())


def counted(text: str) -> dict[tuple[str, str], float]:
    """Counters and gauges of events; buckets and sums of wall time differ between two clocks."""
    return {
        (sample.name, str(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.value == sample.value
    }


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run that is stopped after its first candidate and resumed, and waits to be seen."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    served: list[str] = []
    seen_at: list[float] = []
    closed: list[str] = []
    stop = threading.Event()
    settings = {
        "run__candidates": 3,
        "telemetry__metrics_port": port,
        "evaluation__anchors": list(ANCHORS[1:]),
    }
    with (
        prometheus(folder, f"127.0.0.1:{port}", rules=RULES) as server,
        laboratory(folder / "workspace", **settings) as opened,
    ):

        def hold(event: Event) -> None:
            """Keep the run waiting: a listener is called before the next step."""
            if isinstance(event, Adopted):
                server.wait(f"evocodec_champion_version == {event.version}")
            if isinstance(event, CandidateClosed):
                closed.append(event.candidate_id)
                server.wait(f"sum(evocodec_candidates_total) == {len(closed)}")
                served[:] = [read(url)]
                seen_at[:] = [time.time()]
                if len(closed) == 1:
                    stop.set()

        assert perform_run(opened, listeners=[hold], stop=stop).outcome == "interrupted"
        with pytest.raises(urllib.error.URLError):
            read(url)
        view = perform_run(opened, resume="latest", listeners=[hold])
        yield Watched(view, server, opened, served[0], seen_at[0])


def test_prometheus_sees_the_run_while_it_goes_on(watched: Watched) -> None:
    view, last = watched.view, watched.last
    assert view.outcome == "finished"
    best = view.versions[-1]
    assert last("evocodec_champion_bitrate_mbps") == pytest.approx(best.bitrate_mbps)
    for status in ("adopted", "rejected", "test_failed"):
        series = f'evocodec_candidates_total{{status="{status}"}}'
        assert last(series) == view.counts[status]
    busiest = watched.server.value("max_over_time(evocodec_slots_busy[5m])")
    total = last("evocodec_slots")
    assert busiest is not None
    assert total is not None
    assert 1 <= busiest <= total
    running = 'max_over_time(evocodec_run_state{state="running"}[5m])'
    assert watched.server.value(running) == 1
    (info,) = watched.server.query("last_over_time(evocodec_run_info[5m])")
    assert info["metric"]["run_id"] == view.run_id
    recorded = last('evocodec_store_seconds_count{store="ledger",operation="record"}')
    assert recorded is not None
    assert recorded > 10
    seccomp = not view.isolation["seccomp"].startswith("off")
    assert last('evocodec_sandbox_layer{layer="seccomp"}') == seccomp


MOVED = (
    'candidates_total{status="adopted"}',
    'stages_total{stage="full",outcome="passed"}',
    'stage_seconds_bucket{stage="full",le="+Inf"}',
    'verdicts_total{rule="first_chance"}',
    "adoptions_total",
    "champion_bitrate_mbps",
    "champion_compression_ratio",
    "best_bitrate_mbps",
    'points_total{stage="smoke"}',
    'codec_cpu_seconds_total{step="encode"}',
    "slots",
    'store_seconds_bucket{store="ledger",operation="record",le="+Inf"}',
    'store_seconds_bucket{store="blobs",operation="put",le="+Inf"}',
    'store_seconds_bucket{store="records",operation="put",le="+Inf"}',
)
STILL = (
    "champion_improvement_percent",
    "champion_hevc_saving_percent",
    "slots_busy",
    "tasks_waiting",
    "proposals_waiting",
    "candidates_in_flight",
    'attempt_failures_total{stage="smoke",failure="timeout"}',
    'sandbox_violations_total{kind="forbidden"}',
    "infrastructure_retries_total",
    "infrastructure_failures_total",
    'store_errors_total{store="ledger",operation="record"}',
    "ledger_lag_seconds",
    "gpu_seconds_total",
    'log_messages_total{level="error"}',
    'model_calls_total{role="coder",outcome="ok"}',
)


def test_prometheus_has_every_quantity_and_what_moved_is_above_zero(watched: Watched) -> None:
    missing = {series for series in (*MOVED, *STILL) if watched.last(f"evocodec_{series}") is None}
    assert missing == set()
    zero = {series for series in MOVED if not watched.last(f"evocodec_{series}")}
    assert zero == set()


def test_neither_runs_nor_candidates_multiply_the_series(watched: Watched) -> None:
    samples = [
        sample
        for family in text_string_to_metric_families(watched.served)
        for sample in family.samples
    ]
    named = {sample.name for sample in samples if "run_id" in sample.labels}
    assert named == {"evocodec_run_info"}
    values = {value for sample in samples for value in sample.labels.values()}
    assert not any(re.fullmatch(r"c\d{4}|[0-9a-f]{40,}|v\d+", value) for value in values)


def test_every_line_of_the_log_is_json_with_its_run_and_its_candidate(watched: Watched) -> None:
    run_id = watched.view.run_id
    path = watched.opened.workspace.run(run_id) / "log.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {line["run_id"] for line in lines} == {run_id}
    told = [(line["event"], line.get("candidate_id", "")) for line in lines if "event" in line]
    kept = [(event.kind, event.candidate_id) for _, event in watched.opened.resolver.events(run_id)]
    assert told == kept


def test_the_champion_is_set_against_every_anchor_that_was_asked_for(watched: Watched) -> None:
    view, best = watched.view, watched.view.versions[-1]
    candidate = view.candidate(best.candidate_id)
    assert candidate
    assert candidate.score
    (clip,) = candidate.score.clips
    curves = {one.curve.codec: one.curve for one in (*view.anchors, *view.other_anchors)}
    assert set(curves) == set(ANCHORS)
    recorded = counted(
        RecordedMetrics(watched.opened.ledger, watched.opened.resolver.run_id())
        .exposition()
        .decode()
    )
    for anchor in ANCHORS:
        expected = bd_rate(curves[anchor], clip.curve).akima_percent
        series = f'evocodec_champion_bd_rate_percent{{anchor="{anchor}"}}'
        assert watched.last(series) == pytest.approx(expected), anchor
        # Whoever has the ledger alone, after a restart or elsewhere, tells the same.
        key = ("evocodec_champion_bd_rate_percent", f"[('anchor', '{anchor}')]")
        assert recorded[key] == pytest.approx(expected), anchor


def test_a_name_that_another_controller_took_is_no_second_run(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, run_id = watched.opened, watched.view.run_id
    before = list(opened.resolver.events(run_id))
    monkeypatch.setattr("evocodec.app.run_plan.new_run_id", lambda: run_id)
    with pytest.raises(UserError, match="another controller has just begun"):
        perform_run(opened)
    assert list(opened.resolver.events(run_id)) == before


def test_counters_go_on_after_a_resume(watched: Watched) -> None:
    server = watched.server
    assert watched.view.resumed == 1
    assert watched.last("evocodec_run_resumed") == 1
    # Were they to start anew, Prometheus would see a reset, and count what was before twice.
    for series in (
        "evocodec_points_total",
        "evocodec_candidates_total",
        "evocodec_adoptions_total",
    ):
        assert server.value(f"sum(resets({series}[5m]))") == 0
    assert server.value("sum(last_over_time(evocodec_points_total[5m]))") == watched.view.points


def test_the_ledger_tells_the_same_as_the_run_did(watched: Watched) -> None:
    recorded = RecordedMetrics(watched.opened.ledger, watched.opened.resolver.run_id())
    with MetricsServer(
        recorded.registry, host="127.0.0.1", port=0, refresh=recorded.refresh
    ) as server:
        told = counted(read(server.url))
        assert read(server.url.replace("/metrics", "/healthz")) == "ok\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(server.url.replace("/metrics", "/../etc/passwd"))
    live = counted(watched.served)
    same = {key for key in live if key[0].endswith("_total")} & told.keys()
    assert len(same) > 100
    live_only = ("evocodec_infrastructure_failures", "evocodec_log", "evocodec_store")
    for key in same:
        assert told[key] == live[key] or key[0].startswith(live_only), key


def test_every_dashboard_query_has_data_from_the_run(watched: Watched) -> None:
    # A quantity that this run cannot have: it has no model, hence no budget.
    of_models = {"models/Of the budget", "models/Of the token budget"}
    empty = {
        where
        for where, expression in expressions()
        if not watched.server.query(expression, at=watched.seen_at)
    }
    assert empty <= of_models, empty


def test_dashboards_and_alerts_ask_for_metrics_that_a_run_has(watched: Watched) -> None:
    known = watched.server.names()
    asked = [*(expression for _, expression in expressions()), *(one["expr"] for one in alerts())]
    unknown = set[str]().union(*map(metric_names, asked)) - known
    assert unknown == set()


def test_a_run_that_is_well_sets_off_no_alert(watched: Watched) -> None:
    loaded = watched.server.alerts()
    assert {rule["name"] for rule in loaded} == {rule["alert"] for rule in alerts()}
    assert {rule["health"] for rule in loaded} == {"ok"}
    assert watched.server.query('ALERTS{alertstate="firing"}', at=watched.seen_at) == []


def test_a_port_that_is_taken_is_a_message_and_no_run(tmp_path: Path) -> None:
    port = free_port()
    with laboratory(tmp_path, telemetry__metrics_port=port) as opened:
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(UserError, match=r"telemetry\.metrics_port"),
        ):
            perform_run(opened)
        assert opened.ledger.runs() == ()


def test_the_page_on_metrics_names_each_of_them(watched: Watched) -> None:
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|", page, re.MULTILINE)
    named = {f"evocodec_{name}" for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", watched.served, re.MULTILINE)
    assert {name for name, _ in kinds} == named
