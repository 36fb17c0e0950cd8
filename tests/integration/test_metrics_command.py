"""``evocodec metrics``, the server behind it, and a run whose log is its stdout."""

import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from evocodec.app.recorded_metrics import RecordedMetrics
from evocodec.cli.commands.run import make_display
from evocodec.cli.display.silent import SilentDisplay
from evocodec.cli.main import application
from evocodec.cli.session import Session
from evocodec.config import load_settings
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.domain.events import CandidateClosed, RunStarted
from evocodec.domain.vocabulary import Proposer
from evocodec.store.sqlite.ledger import SqliteLedger
from evocodec.telemetry.server import MetricsServer

APP = application()

RUN = "run-20260101-000000"
AT = "2026-01-01T00:00:00.000"
runner = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"})


def closed(number: int) -> CandidateClosed:
    return CandidateClosed(
        run_id=RUN, at=AT, candidate_id=f"c{number:04d}", status=CandidateStatus.REJECTED,
        reason="", experiment_id="e",
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """A workspace's ledger with a run and one closed candidate."""
    opened = SqliteLedger(tmp_path / "ledger.sqlite")
    started = RunStarted(
        run_id=RUN, at=AT, proposer=Proposer.MUTATION, seed=1, clips=(), settings={}, software={},
        isolation={},
    )  # fmt: skip
    opened.record(started)
    opened.record(closed(1))
    yield opened
    opened.close()


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return str(reply.read().decode())


def test_metrics_are_printed_as_prometheus_reads_them(tmp_path: Path, ledger: SqliteLedger) -> None:
    result = runner.invoke(APP, ["metrics", "-w", str(tmp_path)])
    assert result.exit_code == 0
    assert 'evocodec_candidates_total{status="rejected"} 1.0\n' in result.output
    assert f'evocodec_run_info{{proposer="mutation",run_id="{RUN}"}} 1.0' in result.output
    # Of what is in no event, nothing is claimed.
    assert "evocodec_slots" not in result.output
    assert "evocodec_store" not in result.output


def test_metrics_as_json_have_no_number_that_json_lacks(
    tmp_path: Path, ledger: SqliteLedger
) -> None:
    result = runner.invoke(APP, ["metrics", "--run", RUN, "--json", "-w", str(tmp_path)])
    payload = json.loads(result.output)
    values = {sample["name"]: sample["value"] for sample in payload["samples"]}
    assert payload["run_id"] == RUN
    assert values["evocodec_champion_bitrate_mbps"] is None


def test_an_unknown_run_is_a_message(tmp_path: Path, ledger: SqliteLedger) -> None:
    result = runner.invoke(APP, ["metrics", "--run", "none", "-w", str(tmp_path)])
    assert result.exit_code == 2
    assert "there is no run" in result.output


def test_a_run_under_way_elsewhere_is_followed(ledger: SqliteLedger) -> None:
    recorded = RecordedMetrics(ledger, RUN)
    with MetricsServer(
        recorded.registry, host="127.0.0.1", port=0, refresh=recorded.refresh
    ) as server:
        rejected = 'evocodec_candidates_total{{status="rejected"}} {}\n'
        assert rejected.format("1.0") in read(server.url)
        ledger.record(closed(2))
        assert rejected.format("2.0") in read(server.url)
        assert rejected.format("2.0") in read(server.url)


def test_a_ledger_that_fails_is_a_failed_scrape_and_not_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = [True]

    def refresh() -> None:
        if broken[0]:
            raise InfrastructureFailure("the ledger is locked")

    with MetricsServer(CollectorRegistry(), host="127.0.0.1", port=0, refresh=refresh) as server:
        with pytest.raises(urllib.error.HTTPError, match="503"):
            read(server.url)
        broken[0] = False
        assert read(server.url) == ""
    assert "the ledger is locked" in caplog.text


def test_a_peer_that_says_nothing_holds_up_neither_others_nor_the_end() -> None:
    with MetricsServer(CollectorRegistry(), host="127.0.0.1", port=0) as server:
        silent = socket.create_connection(
            ("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
        )
        read(server.url)
    silent.close()  # only now: the server has ended before


def scrape(url: str) -> None:
    """Read as Prometheus does."""
    asked = urllib.request.Request(url, headers={"X-Prometheus-Scrape-Timeout-Seconds": "10"})
    with urllib.request.urlopen(asked, timeout=10) as reply:
        reply.read()


def test_who_follows_a_run_is_waited_for_once_more_and_people_are_not() -> None:
    over = threading.Event()

    asked: list[bool] = []

    def waits(server: MetricsServer) -> bool:
        """Tell whether there was something to wait for."""

        def is_over() -> bool:
            asked.append(over.is_set())
            return asked[-1]

        asked.clear()
        server.await_last_scrape(is_over)
        return bool(asked)

    with MetricsServer(CollectorRegistry(), host="127.0.0.1", port=0) as server:
        read(server.url)
        read(server.url)
        assert not waits(server)
        scrape(server.url)
        time.sleep(1)  # the interval that the server is to learn: time is what is tested
        scrape(server.url)
        again = threading.Timer(0.5, scrape, [server.url])
        again.start()
        assert waits(server)
        again.join()
        assert waits(server)  # but not for ever: it does not come any more
        over.set()
        assert waits(server)
        assert asked == [True]


def test_ipv6_is_served_and_an_address_of_somebody_else_is_a_message() -> None:
    try:
        with MetricsServer(CollectorRegistry(), host="::1", port=0) as server:
            assert read(server.url) == ""
    except UserError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with pytest.raises(UserError, match=r"telemetry\.metrics_bind"):
        MetricsServer(CollectorRegistry(), host="203.0.113.7", port=0)


def test_nothing_is_drawn_where_the_log_goes_to_stdout(caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings(flags={"telemetry.log_to": "stdout"})
    display = make_display(Session(), settings, plain=False)
    assert isinstance(display, SilentDisplay)
    with caplog.at_level(logging.WARNING), display:
        display.notice("stopping cleanly")
    assert "stopping cleanly" in caplog.text
