"""An engine as a run watches it: what it gave up on is counted, and logged with its candidate."""

import json
import urllib.request
from pathlib import Path

import pytest

from evocodec.app.engine import engine_options
from evocodec.app.run_watch import RunWatch
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import Stage
from evocodec.execution.engine import local_engine
from evocodec.execution.jobs import RateJob
from evocodec.telemetry.log import run_log
from evocodec.telemetry.server import MetricsServer
from tests.support.toy_laboratory import settings_for


def test_an_evaluation_that_is_given_up_on_is_counted_and_names_its_candidate(
    tmp_path: Path,
) -> None:
    watch, log = RunWatch(), tmp_path / "log.jsonl"
    # It was never started: as good as any other reason for which nothing can be evaluated.
    engine = local_engine(
        engine_options(settings_for(tmp_path), dashboard=False),
        on_given_up=watch.evaluation_given_up,
    )
    job = RateJob(Stage.SMOKE, "city", 3, 30.0)
    with (
        run_log(log, "run-1"),
        MetricsServer(watch.metrics.registry, host="127.0.0.1", port=0) as server,
    ):
        with pytest.raises(InfrastructureFailure, match=r"start\(\) comes first"):
            engine.run_jobs("c0007", "", [job], on_point=lambda *_: None, on_retry=lambda *_: None)
        with urllib.request.urlopen(server.url, timeout=10) as reply:
            text = reply.read().decode()
    assert "evocodec_infrastructure_failures_total 1.0\n" in text
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["run_id"], line["candidate_id"]) == ("run-1", "c0007")
    assert line["level"] == "warning"
