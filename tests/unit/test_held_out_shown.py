"""The figure on held-out clips stands beside the development figure wherever a version is named."""

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, Group, RenderableType
from rich.text import Text

from evocodec.app.program_report import held_out_notices, held_out_of
from evocodec.champions.messages import (
    adoption_message,
    metrics_json,
    read_trailers,
    readme,
    version_from,
)
from evocodec.cli.commands.champions import version_payload, version_rows
from evocodec.cli.commands.pareto import trade_offs
from evocodec.cli.complete import version_help
from evocodec.cli.display.status_panel import status_panel
from evocodec.cli.payload.run import candidate_row, run_payload
from evocodec.cli.render.candidate_page import candidate_page
from evocodec.cli.render.tables import candidates_table, versions_table
from evocodec.domain.events import Event
from evocodec.domain.results import HeldOutResult
from evocodec.views.experiment_record import experiment_record
from evocodec.views.progress import Snapshot
from evocodec.views.run import RunView
from evocodec.views.run_state import fold
from tests.support.adoption_entries import entry
from tests.support.sample_run import finished

HELD_OUT = HeldOutResult(True, "", "v2", 10.25, 8.75, None, 3, "5eed" * 16, bitrate_mbps=12.36)


def shown(renderable: RenderableType) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def events() -> Sequence[Event]:
    return finished()


@pytest.fixture(scope="module")
def run(events: Sequence[Event]) -> RunView:
    return fold(events)


def test_a_commit_says_the_held_out_bitrate_and_the_smaller_gain() -> None:
    message = adoption_message(replace(entry(3), held_out=HELD_OUT), 3, "ab" * 32)
    assert "(12.36 on held-out clips), 8.8% better than v2" in message.splitlines()[0]
    trailers, twice = read_trailers(message)
    assert not twice
    version = version_from(trailers, "c" * 40, "2026-01-02T03:04:05+00:00")
    assert version is not None
    assert (version.held_out_bitrate_mbps, version.improvement_percent) == (12.36, 8.75)
    assert b"| 12.36 |" in readme([version], 3)
    assert dict(version_rows(version, None, {3}))["held-out"].startswith("12.36 Mbit/s")
    assert version_payload(version, None, {3})["held_out_bitrate_mbps"] == 12.36
    assert b'"bitrate_mbps": 12.36' in metrics_json(
        replace(entry(3), held_out=HELD_OUT), 3, "ab" * 32
    )


def test_a_version_from_before_has_none_and_says_so() -> None:
    trailers, _ = read_trailers(adoption_message(entry(3), 3, "ab" * 32))
    version = version_from(trailers, "c" * 40, "")
    assert version is not None
    assert version.held_out_bitrate_mbps is None
    assert version.improvement_percent == 10.25
    assert "not recorded" in dict(version_rows(version, None, {3}))["held-out"]


def test_status_lists_and_pages_show_it(run: RunView) -> None:
    adopted = next(each for each in reversed(run.candidates) if each.adoption)
    for page in (
        versions_table(run.versions),
        candidates_table(run.candidates, run, width=200),
        Group(*candidate_page(adopted, run, record="", program="")),
        status_panel(Snapshot(run, (), (), 0.0), corner=Text(), hint=Text(), width=200, height=60),
    ):
        assert "held-out" in shown(page)
        assert "9.87" in shown(page)
    assert candidate_row(adopted, run)["held_out_bitrate_mbps"] == 9.87
    assert candidate_row(adopted, run)["improvement_percent"] == 11.2
    assert run_payload(run)["versions"][-1]["held_out_bitrate_mbps"] == 9.87


def test_the_experiment_record_has_it(events: Sequence[Event], run: RunView) -> None:
    adopted = next(each for each in reversed(run.candidates) if each.adoption)
    own = [event for event in events if event.candidate_id == adopted.candidate_id]
    evolution = experiment_record(own)["experiments"][0]["evolution"]
    assert evolution["held_out"] is not None
    assert evolution["held_out"]["bitrate_mbps"] == 9.87
    assert evolution["improvement"].startswith("11.2% better")
    assert "9.87 on held-out clips" in evolution["summary"]


def test_a_report_on_a_version_of_a_run_says_it(run: RunView) -> None:
    adopted = next(each for each in reversed(run.candidates) if each.adoption)
    held_out = held_out_of((run, adopted.candidate_id))
    (notice,) = held_out_notices(held_out)
    assert "9.87 Mbit/s" in notice
    assert held_out_notices(held_out_of(None)) == ()


def test_trade_offs_the_champion_and_the_path_of_versions_have_it(run: RunView) -> None:
    adopted = [point for point in trade_offs(run) if point.adopted]
    assert adopted
    assert adopted[-1].held_out_bitrate_mbps == 9.87
    assert run_payload(run)["champion"]["held_out_bitrate_mbps"] == 9.87
    panel = status_panel(
        Snapshot(run, (), (), 0.0), corner=Text(), hint=Text(), width=200, height=60
    )
    assert "(9.87 held-out)" in shown(panel)
    assert version_help(run.versions[-1]).endswith("9.87 on held-out clips")
