"""Names of runs: they sort by time, and of two controllers with one name only one begins."""

import re
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from evocodec.app.run_plan import new_run_id
from evocodec.domain.events import Event, RunStarted
from evocodec.domain.vocabulary import Proposer
from evocodec.store.journal import Journal
from evocodec.store.memory import MemoryLedger
from evocodec.telemetry.metrics import RunMetrics


def started(run_id: str, proposer: str = "mutation") -> RunStarted:
    return RunStarted(
        run_id=run_id, at="2026-01-01T00:00:00.000", proposer=Proposer(proposer), seed=1, clips=(),
        settings={}, software={}, isolation={},
    )  # fmt: skip


def test_names_of_one_second_differ_and_names_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1_760_000_000]
    gmtime = time.gmtime
    monkeypatch.setattr(time, "gmtime", lambda: gmtime(moment[0]))
    together = [new_run_id() for _ in range(20)]
    assert len(set(together)) > 15
    assert all(re.fullmatch(r"run-20251009-085320-[0-9a-f]{4}", name) for name in together)
    moment[0] += 1
    assert min(new_run_id() for _ in range(20)) > max(together)


@pytest.mark.parametrize(
    "name", ["run-20261017-013635", "run-20261017-013635-2", "run-20261017-013635-4f0c"]
)
def test_a_run_of_any_version_is_named_in_its_metrics(name: str) -> None:
    metrics = RunMetrics()
    metrics.observe(started(name))
    families = text_string_to_metric_families(metrics.exposition().decode())
    (info,) = [family for family in families if family.name == "evocodec_run_info"]
    assert [sample.labels["run_id"] for sample in info.samples] == [name]


def test_of_two_that_begin_one_run_one_is_told_that_it_is_not_its_own() -> None:
    ledger = MemoryLedger()
    heard: list[Event] = []
    first, second = (Journal(ledger, "r", heard.append) for _ in range(2))
    assert first.claim(started("r", "model"))
    assert not second.claim(started("r", "mutation"))
    assert heard == [started("r", "model")]
