"""Event keys are spelt once, beside their events."""

import ast
from collections.abc import Sequence
from typing import get_args

import pytest

from evocodec.domain import events
from evocodec.domain.results import Stage
from evocodec.domain.vocabulary import ModelRole, NoteSubject
from tests.support.sample_events import AT, one_of_each_kind
from tests.support.source_trees import name_of, nodes_of, product_files

LOOK_UPS = frozenset({"find", "recorded", "_recorded"})  # and ``get`` of a ledger

KEYS = {
    "run_started": events.run_started_key(1),
    "anchor_ready": events.anchor_key("c0001", "city", "ab" * 32),
    "candidate_opened": events.opened_key("c0001"),
    "planned": events.planned_key("c0001"),
    "model_called": events.reply_key("c0001", ModelRole.CODER, 0),
    "model_noted": events.note_key("c0001", ModelRole.CODER, 0, NoteSubject.WAITING, AT),
    "code_written": events.code_key("c0001", 0),
    "reviewed": events.review_key("c0001", 0),
    "stage_started": events.stage_started_key("c0001", 0, Stage.FULL, 2),
    "point_measured": events.point_key("c0001", 0, Stage.FULL, "city", 30.5, verified=False),
    "attempt_failed": events.failed_key("c0001", 0),
    "screened": events.screened_key("c0001", 0),
    "evaluated": events.evaluated_key("c0001", 0),
    "held_out_tested": events.held_out_key("c0001", 0, "v1"),
    "judged": events.judged_key("c0001", "v0"),
    "adopted": events.adopted_key("c0001"),
    "candidate_closed": events.closed_key("c0001"),
    "run_stopped": events.run_stopped_key(1),
}


def spelt_keys(nodes: Sequence[ast.AST]) -> list[int]:
    """Lines on which a ledger is asked for a key that is spelt out there, or held in a name."""
    spelt = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.JoinedStr)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return [
        node.lineno
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr in LOOK_UPS or ast.unparse(node.func).endswith("ledger.get"))
        and any(
            isinstance(argument, ast.JoinedStr)
            or (isinstance(argument, ast.Name) and argument.id in spelt)
            for argument in node.args
        )
    ]


@pytest.mark.parametrize("event", one_of_each_kind(), ids=lambda event: event.kind)
def test_a_key_can_be_made_without_its_event(event: events.Event) -> None:
    if event.kind == "infrastructure_retried":
        pytest.skip("nobody looks for one: its key holds the moment")
    assert event.key == KEYS[event.kind]


def test_the_key_of_a_candidates_event_begins_with_the_candidate() -> None:
    """A ledger finds a candidate's events by their keys."""
    of_candidates = [event for event in one_of_each_kind() if event.candidate_id]
    assert len(of_candidates) >= 14
    odd = [
        event.kind for event in of_candidates if not event.key.startswith(f"{event.candidate_id}/")
    ]
    assert odd == []


def test_the_scan_finds_a_key_that_is_spelt_out() -> None:
    def found(text: str) -> list[int]:
        return spelt_keys(tuple(ast.walk(ast.parse(text))))

    assert found('journal.find(f"{candidate_id}/planned")') == [1]
    assert found('key = f"{candidate_id}/planned"\nledger.get(run_id, key)') == [2]
    assert found("journal.find(planned_key(candidate_id))") == []


def test_no_part_spells_an_event_key_out() -> None:
    found = {
        name_of(path): lines for path in product_files() if (lines := spelt_keys(nodes_of(path)))
    }
    assert found == {}


def test_a_kind_is_asked_for_by_its_type() -> None:
    assert events.kinds_of(events.RunStarted, events.Judged) == ("run_started", "judged")
    every = events.kinds_of(*get_args(events.Event))
    assert every == tuple(event.kind for event in one_of_each_kind())


def test_no_part_spells_the_kind_of_an_event_out() -> None:
    kinds = {event.kind for event in one_of_each_kind()}
    spelt = {
        f"{name_of(path)}:{node.lineno}"
        for path in product_files()
        for node in nodes_of(path)
        if isinstance(node, ast.keyword | ast.Assign)
        and "kinds" in ast.unparse(node).partition("=")[0]
        for text in ast.walk(node.value)
        if isinstance(text, ast.Constant) and text.value in kinds
    }
    assert spelt == set()
