"""What is read from a model's answer, and what is not."""

import pytest

from agents.opinions import findings_from, plan_from, veto_from


@pytest.mark.parametrize(
    "reply",
    [
        '{"hypothesis": "Quarter-pel saves bits.", "steps": ["interpolate", "search"]}',
        'Sure:\n```json\n{"hypothesis": "Quarter-pel saves bits.", "steps": ["interpolate", '
        '"search"]}\n```',
        '<think>{"hypothesis": "no"}</think>{"a": 1} {"hypothesis": "Quarter-pel saves bits.", '
        '"steps": ["interpolate", "search"]}',
        "**Hypothesis:** Quarter-pel saves bits.\n\nSteps:\n1. interpolate\n2. search",
        "Quarter-pel saves\nbits.\n\n- interpolate\n- search\n",
    ],
)
def test_a_plan_is_read_from_json_or_from_prose(reply: str) -> None:
    plan = plan_from(reply)
    assert plan is not None
    assert plan.hypothesis == "Quarter-pel saves bits."
    assert plan.steps == ("interpolate", "search")


@pytest.mark.parametrize("reply", ["", "  ", "???", "```python\nx = 1\n```", "<think>so long"])
def test_without_words_there_is_no_plan(reply: str) -> None:
    assert plan_from(reply) is None


def test_a_plan_is_bounded() -> None:
    plan = plan_from('{"hypothesis": "' + "long " * 5000 + '", "steps": ' + str(["s"] * 99)
                     .replace("'", '"') + "}")  # fmt: skip
    assert plan is not None
    assert len(plan.hypothesis) <= 600
    assert len(plan.steps) == 12


def test_findings_of_the_known_kinds_count_and_others_do_not() -> None:
    findings = findings_from(
        '{"findings": [{"rule": "inexact_decode", "line": 12, "message": "float matmul"},'
        ' {"rule": "style", "line": 3, "message": "long line"}, {"rule": "unsafe"}, 5,'
        ' {"rule": ["unsafe"], "message": "x"}, {"rule": "unsafe", "line": -4, "message": "m"}]}'
    )
    assert findings is not None
    assert [(f.rule, f.line) for f in findings] == [
        ("model/inexact_decode", 12),
        ("model/unsafe", 0),
    ]


@pytest.mark.parametrize("reply", ["", "LGTM", '{"findings": "none"}', '{"findings": [', "[]"])
def test_a_garbled_review_is_no_opinion(reply: str) -> None:
    assert findings_from(reply) is None


def test_an_empty_list_of_findings_is_an_opinion() -> None:
    assert findings_from('All good. {"findings": []}') == ()


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "VETO!",
        '{"veto": "true", "reason": "x"}',
        '{"veto": true}',
        '{"veto": 1, "reason": "x"}',
    ],
)
def test_a_garbled_veto_is_none(reply: str) -> None:
    assert veto_from(reply) is None


def test_deeply_nested_braces_are_given_up_on() -> None:
    assert veto_from('{"a":' * 20_000) is None


@pytest.mark.parametrize("filler", ["\n", " \n", "-\n", "hypothesis", "hypothesis:\n", ":"])
def test_a_reply_of_nothing_much_is_read_in_steps_that_grow_with_its_length(filler: str) -> None:
    # With a square it would be 30 billion steps, an hour, in which no other thread runs.
    plan_from(f"abc hypothesis{filler * 200_000}abc")


def test_a_number_of_more_digits_than_python_converts_is_no_opinion() -> None:
    assert veto_from(f'{{"veto": {"1" * 5000}, "reason": "r"}}') is None
