"""Metrics of a real run as a real Prometheus keeps them: live, after a resume, from the ledger."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import laboratory
from prometheus_server import Prometheus, free_port, prometheus

from evocodec.domain.errors import UserError
from evocodec.domain.events import Adopted, CandidateClosed, Event
from evocodec.store.views import RunView


@dataclass(frozen=True)
class Watched:
    """A run that was scraped while it went on, and what the scrapes said of it."""

    view: RunView
    server: Prometheus
    served: str


def read(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
        return str(reply.read().decode())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run that waits at its first adoption and before its end until Prometheus has seen it."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    served: list[str] = []
    closed: list[str] = []
    with (
        prometheus(folder, f"127.0.0.1:{port}") as server,
        laboratory(
            folder / "workspace",
            run__candidates=3,
            telemetry__metrics_port=port,
        ) as opened,
    ):

        def hold(event: Event) -> None:
            """Stop the run for a moment: a listener is called before the next step."""
            if isinstance(event, Adopted):
                server.wait(f"evocodec_champion_version == {event.version}")
            if isinstance(event, CandidateClosed):
                closed.append(event.candidate_id)
                server.wait(f"sum(evocodec_candidates_total) == {len(closed)}")
                served[:] = [read(port)]

        view = opened.run(listeners=[hold])
        with pytest.raises(urllib.error.URLError):
            read(port)
        yield Watched(view, server, served[0])


def test_prometheus_sees_the_run_while_it_goes_on(watched: Watched) -> None:
    view, server = watched.view, watched.server
    assert view.outcome == "finished"
    last = "last_over_time({}[5m])"
    best = view.versions[-1]
    assert server.value(last.format("evocodec_champion_bitrate_mbps")) == pytest.approx(
        best.bitrate_mbps
    )
    assert server.value(last.format('evocodec_champion_bd_rate_percent{anchor="hevc"}')) == (
        pytest.approx(best.bd_rate_percent)
    )
    assert server.value(f"sum({last.format('evocodec_points_total')})") == view.points
    for status, count in view.counts.items():
        if status != "running":
            expression = last.format(f'evocodec_candidates_total{{status="{status}"}}')
            assert server.value(expression) == count
    busiest = server.value("max_over_time(evocodec_slots_busy[5m])")
    total = server.value(last.format("evocodec_slots"))
    assert busiest is not None
    assert total is not None
    assert 1 <= busiest <= total
    assert server.value('max_over_time(evocodec_run_state{state="running"}[5m])') == 1
    info = server.query(last.format("evocodec_run_info"))
    assert [one["metric"]["run_id"] for one in info] == [view.run_id]
    recorded = server.value(
        last.format('evocodec_store_seconds_count{store="ledger",operation="record"}')
    )
    assert recorded is not None
    assert recorded > view.points
    isolated = server.value(last.format('evocodec_sandbox_layer{layer="seccomp"}'))
    assert isolated == (not view.isolation["seccomp"].startswith("off"))


def test_a_port_that_is_taken_is_a_message_and_no_run(tmp_path: Path) -> None:
    port = free_port()
    with laboratory(tmp_path, telemetry__metrics_port=port) as opened:
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(UserError, match=r"telemetry\.metrics_port"),
        ):
            opened.run()
        assert opened.runs() == ()
