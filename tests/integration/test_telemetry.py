"""Watching a run: the bus's promises, the log file, and metrics as a real Prometheus reads them."""

import json
import logging
import math
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import start_http_server
from prometheus_client.parser import text_string_to_metric_families

from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import FailureKind
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
    StageStarted,
)
from evocodec.domain.results import Cost, Quality, RatePoint, Score, Stage
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.telemetry.bus import EventBus
from evocodec.telemetry.log import log_event, run_log
from evocodec.telemetry.metrics import RunMetrics


def at(seconds: float) -> str:
    return f"2026-01-01T00:00:{seconds:06.3f}"


def opened(name: str, number: int = 1, seconds: float = 0) -> CandidateOpened:
    return CandidateOpened(
        run_id="r", at=at(seconds), candidate_id=name, parent_id="", number=number
    )


def closed(name: str, status: CandidateStatus, seconds: float = 50) -> CandidateClosed:
    return CandidateClosed(
        run_id="r", at=at(seconds), candidate_id=name, status=status, reason="", experiment_id="e"
    )


def started(name: str, stage: Stage, seconds: float) -> StageStarted:
    return StageStarted(run_id="r", at=at(seconds), candidate_id=name, attempt=0, stage=stage)


def measured(name: str, stage: Stage, qp: float, seconds: float) -> PointMeasured:
    cost = Cost(encode_cpu_seconds=2.0, decode_cpu_seconds=0.5, frames=3)
    point = RatePoint("city", qp, 800, 3, Quality(40, 40, 40, 40, None, 39), cost)
    return PointMeasured(
        run_id="r", at=at(seconds), candidate_id=name, attempt=0, stage=stage, task="t", point=point
    )


def evaluated(name: str, bitrate_mbps: float, seconds: float) -> Evaluated:
    score = Score(bitrate_mbps, 50.0, -10.0, "city", 1.1, 3.0, 9.0, 1, 1, ())
    return Evaluated(run_id="r", at=at(seconds), candidate_id=name, attempt=0, score=score)


STORY: tuple[Event, ...] = (
    opened("c1"),
    opened("c2", 2),
    ModelCalled(
        run_id="r", at=at(1), candidate_id="c1", role=ModelRole.CODER, attempt=0, model="m",
        prompt_sha256="", template_sha256="", reply_sha256="", outcome=CallOutcome.OK,
        prompt_tokens=1000, completion_tokens=200, cost_usd=0.25, wall_seconds=7.0,
    ),
    started("c1", Stage.SMOKE, 2),
    measured("c1", Stage.SMOKE, 30, 3),
    started("c1", Stage.FULL, 4),
    started("c2", Stage.SMOKE, 5),
    InfrastructureRetried(
        run_id="r", at=at(6), candidate_id="c1", task="c1/city/q30/encode", retry=1, reason="lost"
    ),
    AttemptFailed(
        run_id="r", at=at(7), candidate_id="c2", attempt=0, stage=Stage.SMOKE,
        failure=FailureKind.TIMEOUT, message="",
    ),
    closed("c2", CandidateStatus.TEST_FAILED, 8),
    measured("c1", Stage.FULL, 30, 20),
    measured("c1", Stage.FULL, 40, 22),
    evaluated("c1", 8.5, 24),
    Adopted(
        run_id="r", at=at(25), candidate_id="c1", version=1, commit="abc", tag="v1", pushed=False
    ),
    closed("c1", CandidateStatus.ADOPTED, 26),
    opened("c3", 3, 27),
    evaluated("c3", 9.5, 28),
)  # fmt: skip


@dataclass
class Scrape:
    """What Prometheus would store, by name and labels."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[f"evocodec_{name}", frozenset(labels.items())]


def scrape(text: str) -> Scrape:
    return Scrape(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


def test_a_story_of_events_becomes_metrics_on_a_real_endpoint() -> None:
    metrics = RunMetrics()
    metrics.watch_slots(lambda: 3, lambda: 4)
    bus = EventBus()
    bus.subscribe(metrics.observe)
    for event in STORY:
        bus.publish(event)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=metrics.registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as reply:
            served = reply.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    value = scrape(served)
    assert value("candidates_total", status="adopted") == 1
    assert value("candidates_total", status="test_failed") == 1
    assert value("candidates_in_flight") == 1
    assert value("attempt_failures_total", stage="smoke", failure="timeout") == 1
    assert value("points_total", stage="full") == 2
    assert value("codec_cpu_seconds_total", step="encode") == 6
    assert value("codec_cpu_seconds_total", step="decode") == 1.5
    assert value("infrastructure_retries_total") == 1
    assert value("model_calls_total", role="coder", outcome="ok") == 1
    assert value("model_tokens_total", role="coder", direction="prompt") == 1000
    assert value("model_tokens_total", role="coder", direction="completion") == 200
    assert value("model_cost_usd_total", role="coder") == 0.25
    assert value("model_call_seconds_sum", role="coder") == 7
    assert value("stage_seconds_sum", stage="full") == 20
    assert value("stage_seconds_sum", stage="smoke") == (3 - 2) + (7 - 5)
    assert value("stage_seconds_count", stage="smoke") == 2
    assert value("best_bitrate_mbps") == 8.5
    assert value("champion_bitrate_mbps") == 8.5
    assert value("champion_compression_ratio") == 50
    assert value("champion_version") == 1
    assert (value("slots_busy"), value("slots")) == (3, 4)
    assert metrics.exposition().decode() == served


def test_runs_do_not_share_their_metrics() -> None:
    first, second = RunMetrics(), RunMetrics()
    first.observe(opened("c1"))
    assert scrape(first.exposition().decode())("candidates_in_flight") == 1
    assert scrape(second.exposition().decode())("candidates_in_flight") == 0


def test_a_subscriber_that_raises_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()
    first: list[Event] = []
    last: list[Event] = []

    def broken(event: Event) -> None:
        raise ValueError(event.key)

    bus.subscribe(first.append)
    bus.subscribe(broken)
    bus.subscribe(last.append)
    bus.publish(opened("c1"))
    bus.publish(opened("c2"))
    assert [event.candidate_id for event in first] == ["c1", "c2"]
    assert last == first
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_who_unsubscribes_hears_no_more() -> None:
    bus = EventBus()
    heard: list[Event] = []
    leave = bus.subscribe(heard.append)
    bus.publish(opened("c1"))
    leave()
    leave()
    bus.publish(opened("c2"))
    assert len(heard) == 1


def test_all_subscribers_see_events_of_all_threads_in_one_order() -> None:
    bus = EventBus()
    one: list[str] = []
    other: list[str] = []
    bus.subscribe(lambda event: one.append(event.key))
    bus.subscribe(lambda event: other.append(event.key))

    def publish(name: str) -> None:
        for number in range(200):
            bus.publish(opened(f"{name}{number}"))

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(one) == 800
    assert one == other


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_log_is_one_json_object_a_line_whatever_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What pytest captures it sends between processes as UTF-8, which this text is not.
    monkeypatch.setattr(logging.getLogger("evocodec"), "propagate", False)
    path = tmp_path / "logs" / "run.jsonl"
    logger = logging.getLogger("evocodec.somewhere")
    hostile = 'first\nsecond {"at": 1}\x1b[31m\udcff ' + "x" * 20_000
    with run_log(path, "r-7"):
        logger.warning(
            "%s", hostile, extra={"candidate_id": "c1", "share": math.nan, "n": 3, "_ray": 1}
        )
        try:
            raise ValueError("inside")
        except ValueError:
            logger.exception("it broke")
        log_event(opened("c9"))
        log_event(closed("c9", CandidateStatus.TEST_FAILED))
        logger.debug("too quiet")
    logger.warning("too late")
    first, second, third, fourth = lines(path)
    assert (fourth["event"], fourth["status"]) == ("candidate_closed", "test_failed")
    assert first["run_id"] == "r-7"
    assert first["candidate_id"] == "c1"
    assert (first["n"], first["share"]) == (3, "nan")
    assert str(first["message"]).startswith("first\nsecond")
    assert len(str(first["message"])) < 9000
    assert "ValueError: inside" in str(second["traceback"])
    assert (third["event"], third["candidate_id"]) == ("candidate_opened", "c9")
    assert not any(name.startswith("_") for line in (first, second, third) for name in line)
    assert str(first["ts"]).endswith("+00:00")


def test_a_resumed_run_appends_to_its_log(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for _ in range(2):
        with run_log(path, "r"):
            log_event(opened("c1"))
    assert len(lines(path)) == 2
