"""What one part writes and another compares is a word of a type, never a text spelt twice."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from itertools import chain
from typing import Any, get_args, get_type_hints

import pytest

from evocodec.app.engine import make_policy
from evocodec.cli.render.run_summary import EXIT_OF_OUTCOME, HEADLINES
from evocodec.config import load_settings
from evocodec.domain import candidate, errors, results, vocabulary
from evocodec.domain.candidate import Origin
from evocodec.domain.errors import ConfigError
from evocodec.domain.events import Event
from evocodec.domain.vocabulary import GateRule, Layer, RunOutcome
from tests.support.source_trees import name_of, nodes_of, product_files

WORDS = frozenset(
    {"rule", "reviewer", "role", "outcome", "proposer", "failure", "origin", "stage", "status"}
    | {"metric"}
)
"""Names of fields for which there is a vocabulary."""


def held_types(hint: Any) -> Iterator[Any]:
    """A type and all that it is made of, without aliases and containers."""
    arguments = get_args(hint)
    if not arguments:
        yield hint
    for argument in arguments:
        yield from held_types(argument)


def is_vocabulary(held: Any) -> bool:
    return isinstance(held, type) and issubclass(held, StrEnum)


def event_fields() -> dict[str, Any]:
    """``Class.field`` → annotation, for every event and every dataclass inside one."""
    found: dict[str, Any] = {}
    queue, seen = list(get_args(Event)), set()
    while queue:
        cls = queue.pop()
        if cls in seen:
            continue
        seen.add(cls)
        hints = get_type_hints(cls)
        for field in fields(cls):
            found[f"{cls.__name__}.{field.name}"] = hints[field.name]
            queue += [held for held in held_types(hints[field.name]) if is_dataclass(held)]
    return found


def test_no_field_of_an_event_is_a_bare_text_where_a_vocabulary_exists() -> None:
    named = {name: hint for name, hint in event_fields().items() if name.split(".")[1] in WORDS}
    assert len(named) >= 12
    bare = {name for name, hint in named.items() if not all(map(is_vocabulary, held_types(hint)))}
    assert bare == set()


def spelt_words(nodes: Iterable[ast.AST]) -> list[int]:
    """Lines that compare such a field with a text, or fill one in with a text."""
    lines = []
    for node in nodes:
        if isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            asked = any(isinstance(side, ast.Attribute) and side.attr in WORDS for side in sides)
            parts = (part for side in sides for part in ast.walk(side))
            texts = [p for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
            if asked and texts:
                lines.append(node.lineno)
        if isinstance(node, ast.keyword) and node.arg in WORDS:
            value = node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                lines.append(value.lineno)
    return lines


def test_the_scan_sees_a_word_that_is_spelt_out() -> None:
    def found(text: str) -> list[int]:
        return spelt_words(ast.walk(ast.parse(text)))

    assert found('if verdict.rule == "baseline": pass') == [1]
    assert found('call.outcome in {"ok", "empty"}') == [1]
    assert found('Reviewed(reviewer="gate")') == [1]
    assert found("verdict.rule is VerdictRule.BASELINE") == []


WORDS_OF_OTHERS = {
    "evocodec/views/experiment_record.py": "the status of a record: running or completed",
    "evocodec/store/aws/tables.py": "the status of a DynamoDB table",
    "evocodec/video/clips.py": "where a clip comes from",
}


def test_no_part_spells_a_word_of_a_vocabulary_out() -> None:
    found = {
        name_of(path): lines for path in product_files() if (lines := spelt_words(nodes_of(path)))
    }
    assert found.keys() - WORDS_OF_OTHERS.keys() == set(), found


def vocabularies() -> dict[str, frozenset[str]]:
    """Every vocabulary of the domain, by its name."""
    held = (vars(module).items() for module in (vocabulary, candidate, errors, results))
    return {
        name: frozenset(member.value for member in found)
        for name, found in chain.from_iterable(held)
        if isinstance(found, type) and issubclass(found, StrEnum) and found is not StrEnum
    }


def copied_lists(nodes: Iterable[ast.AST]) -> list[int]:
    """Lines that list two words or more of one vocabulary, and nothing else, as texts."""
    lines = []
    for node in nodes:
        if isinstance(node, ast.Dict):
            parts: list[ast.expr | None] = list(node.keys)
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = list(node.elts)
        else:
            continue
        words = {p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)}
        whole = len(words) == len(parts) >= 2
        if whole and any(words <= known for known in vocabularies().values()):
            lines.append(node.lineno)
    return lines


def test_the_scan_sees_a_list_that_copies_a_vocabulary() -> None:
    def found(text: str) -> list[int]:
        return copied_lists(ast.walk(ast.parse(text)))

    assert found('for name in ("adopted", "rejected", "test_failed"): pass') == [1]
    assert found('STYLES = {"held": "green", "BROKEN": "red"}') == [1]
    assert found('("adopted", "and more")') == []
    assert found("(CandidateStatus.ADOPTED, CandidateStatus.REJECTED)") == []


LISTS_OF_OTHERS = {
    "evocodec/config_sections.py": "values of a setting, which pydantic wants as literals",
    "evocodec/guest/job.py": "kinds that a job may report; FailureKind reads them",
    "evocodec/metrics/vmaf.py": "what libvmaf calls its models",
    "evocodec/search/archive.py": "two ways to choose a parent",
}


def test_no_part_copies_a_vocabulary_as_a_list_of_texts() -> None:
    found = {
        name_of(path): lines for path in product_files() if (lines := copied_lists(nodes_of(path)))
    }
    assert found.keys() - LISTS_OF_OTHERS.keys() == set(), found


@cache
def members_named() -> frozenset[tuple[str, str]]:
    """File and ``Class.MEMBER``, wherever the product names one."""
    return frozenset(
        (name_of(path), f"{node.value.id}.{node.attr}")
        for path in product_files()
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    )


def uses(word: str) -> set[str]:
    """Files of the product that name a member of a vocabulary, ``GateRule.SIZE`` for one."""
    return {file for file, named in members_named() if named == word}


@pytest.mark.parametrize("rule", [rule for rule in GateRule if not rule.of_model])
def test_every_rule_of_the_static_gate_is_written_by_it(rule: GateRule) -> None:
    writers = uses(f"GateRule.{rule.name}")
    assert any(file.startswith("evocodec/sandbox/review/") for file in writers)


@pytest.mark.parametrize("origin", Origin)
def test_every_origin_is_given_to_something(origin: Origin) -> None:
    assert uses(f"Origin.{origin.name}")


def test_only_old_ledgers_say_gate_for_a_reviewer() -> None:
    assert uses("ReviewerName.GATE") == set()


def test_every_outcome_of_a_run_has_an_exit_code_and_a_headline() -> None:
    assert set(EXIT_OF_OUTCOME) == set(RunOutcome)
    assert set(HEADLINES) == set(RunOutcome)


def test_a_floor_that_names_no_layer_is_refused_with_the_names_of_layers() -> None:
    known = load_settings(flags={"sandbox.floor": ["landlock|path_broker"]})
    assert frozenset({Layer.LANDLOCK, Layer.PATH_BROKER}) in make_policy(known).floor
    unknown = load_settings(flags={"sandbox.floor": ["landlocks"]})
    with pytest.raises(ConfigError, match=r"'landlocks'.*no layer.*landlock"):
        make_policy(unknown)
