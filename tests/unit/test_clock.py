"""One clock: one format is written, and all formats that ledgers hold are read alike."""

import ast
from datetime import UTC, datetime

import pytest

from evocodec.domain.clock import epoch_seconds, parse_time, seconds_between, utc_now
from tests.support.source_trees import name_of, nodes_of, product_files

ELSEWHERE = {
    "evocodec/domain/clock.py": "the clock",
    "evocodec/cli/errors.py": "the head of a traceback in errors.log",
    "evocodec/telemetry/log.py": "the time of a log record, which logging took",
    "evocodec/telemetry/structured.py": "the time of a log record, which logging took",
    "evocodec/views/experiment_record.py": "records leave the offset out, as their readers expect",
    "evocodec/cluster/probe_session.py": "a time that Kubernetes wrote",
    "evocodec/app/run_plan.py": "the name of a run",
    "evocodec/champions/history.py": "the time of a commit, as git prints it",
}


@pytest.mark.parametrize(
    "at",
    ["2026-11-30T11:00:00.123", "2026-11-30T11:00:00.123Z", "2026-11-30T11:00:00.123+00:00",
     "2026-11-30T12:00:00.123+01:00"],
)  # fmt: skip
def test_every_format_of_a_ledger_is_the_same_moment(at: str) -> None:
    assert parse_time(at) == datetime(2026, 11, 30, 11, 0, 0, 123000, UTC)
    assert epoch_seconds(at) == 1796036400.123
    assert seconds_between("2026-11-30T10:59:59.123", at) == 1.0


def test_now_is_written_with_milliseconds_and_its_offset() -> None:
    now = utc_now()
    assert parse_time(now).isoformat(timespec="milliseconds") == now
    assert now.endswith("+00:00")


@pytest.mark.parametrize("text", ["", "yesterday"])
def test_what_is_no_time_has_no_seconds(text: str) -> None:
    assert epoch_seconds(text) is None
    assert seconds_between(text, utc_now()) is None
    with pytest.raises(ValueError, match="isoformat"):
        parse_time(text)


def test_nobody_else_formats_or_parses_a_time() -> None:
    formats = {"isoformat", "fromisoformat", "strftime", "strptime"}
    found = {
        name_of(path)
        for path in product_files()
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute) and node.attr in formats
    }
    assert found == set(ELSEWHERE)
