"""Dashboards and alerts ask only for label values that metrics have."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from evocodec.domain.errors import FailureKind
from evocodec.domain.results import Stage
from evocodec.domain.vocabulary import CallOutcome, Layer, ModelRole, Proposer, VerdictRule
from evocodec.telemetry import labels

CHART = Path(__file__).parents[2] / "helm" / "evocodec"
QUERIES = sorted([*CHART.glob("dashboards/*.json"), *CHART.glob("alerts/*.yaml")])
KNOWN: Mapping[str, frozenset[str]] = {
    label: frozenset(map(str, values))
    for label, values in {
        "outcome": [*labels.StageOutcome, *CallOutcome],
        "stage": [*Stage],
        "rule": [*VerdictRule, *labels.GATE_RULES],
        "failure": [*FailureKind],
        "status": labels.STATUSES,
        "role": [*ModelRole],
        "state": labels.RUN_STATES,
        "layer": [*Layer],
        "proposer": [*Proposer],
        "kind": labels.VIOLATIONS,
        "step": [*labels.CodingStep],
        "direction": [*labels.Direction],
        "store": [*labels.STORES],
        "operation": [name for names in labels.STORES.values() for name in names],
        "anchor": labels.ANCHORS,
    }.items()
}
MATCHER = re.compile(rf'\b({"|".join(KNOWN)})(=~|!~|!=|=)\\?"([^"\\]*)')


def asked(text: str) -> set[tuple[str, str]]:
    """Label and value of every matcher in the queries; of a regular expression, each choice."""
    found = set()
    for metric in re.findall(r"evocodec_\w+\{[^}]*\}", text):
        for label, how, value in MATCHER.findall(metric):
            choices = value.split("|") if "~" in how else [value]
            found |= {(label, choice) for choice in choices if not choice.startswith("$")}
    return found


def unknown(pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that no series can have."""
    return {
        (label, value)
        for label, value in pairs
        if not any(re.fullmatch(value, known) for known in {*KNOWN[label], labels.OTHER})
    }


def test_the_scan_sees_a_value_that_no_series_has() -> None:
    text = 'sum(evocodec_model_calls_total{role="coder",outcome!~"ok|refuse"})'
    assert unknown(asked(text)) == {("outcome", "refuse")}


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.name)
def test_a_query_asks_for_values_that_exist(path: Path) -> None:
    assert unknown(asked(path.read_text())) == set()


def test_the_queries_of_the_chart_are_read_at_all() -> None:
    pairs = {pair for path in QUERIES for pair in asked(path.read_text())}
    assert {("state", "running"), ("outcome", "ok"), ("stage", "held_out")} <= pairs


def test_replies_that_were_received_are_the_ones_that_queries_name() -> None:
    received = {outcome.value for outcome in CallOutcome if outcome.received}
    groups = [
        set(choices.split("|"))
        for path in QUERIES
        for choices in re.findall(r'outcome[=!]~\\?"(ok\|[^"\\]*)', path.read_text())
    ]
    assert len(groups) >= 3
    assert all(group == received for group in groups)
