"""Opinions of a language model: finds a JSON object in its reply, if there is one."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agents.reading.reasoning import answer_in
from evocodec.domain.candidate import Finding
from evocodec.domain.vocabulary import GateRule

_MAX_TEXT = 600
_MAX_STEPS = 12
_MAX_FINDINGS = 20
_MAX_STARTS = 200
# What is skipped from the start of a line ends with the line: a reply of empty lines would else
# be searched once from each of them.
_LABELLED = re.compile(
    r"^[^\w\n]*hypothesis[^\w\n:\-–]*[:\-–]\W*(.+)$", re.IGNORECASE | re.MULTILINE
)
_BULLET = re.compile(r"^[^\S\n]*(?:[-*•]|\d{1,2}[.)])[^\S\n]+(.+)$", re.MULTILINE)
_BLOCKING = {rule.removeprefix("model/"): rule for rule in GateRule if rule.of_model}


@dataclass(frozen=True, slots=True)
class PlanOpinion:
    """A hypothesis and its steps."""

    hypothesis: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VetoOpinion:
    """Whether a judge vetoes, and why."""

    veto: bool
    reason: str


def without_thinking(text: str) -> str:
    """The answer of a reply, without the reasoning that some models put before it."""
    return answer_in(text).text


def one_line(text: str, limit: int = _MAX_TEXT) -> str:
    """Collapse white space and limit the length; text of a model goes into records."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def json_objects(text: str) -> Iterator[dict[str, object]]:
    """Complete JSON objects in the text, outermost first; gives up after many false starts."""
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(_MAX_STARTS):
        start = text.find("{", position)
        if start < 0:
            return
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):  # no JSON, or a number of thousands of digits
            position = start + 1
            continue
        if isinstance(value, dict):
            yield value
        position = max(end, start + 1)


def plan_from(text: str) -> PlanOpinion | None:
    """Read a plan: the JSON that was asked for, else labelled prose, else the first paragraph."""
    answer = without_thinking(text)
    for value in json_objects(answer):
        hypothesis = value.get("hypothesis")
        if isinstance(hypothesis, str) and hypothesis.strip():
            steps = value.get("steps")
            listed = steps if isinstance(steps, list) else []
            return PlanOpinion(one_line(hypothesis), _steps(str(step) for step in listed))
    prose = re.sub(r"```.*?(?:```|\Z)", "", answer, flags=re.DOTALL).strip()
    if not re.search(r"[A-Za-z]{3}", prose):
        return None
    labelled = _LABELLED.search(prose)
    hypothesis = labelled.group(1) if labelled else prose.split("\n\n", 1)[0]
    return PlanOpinion(one_line(hypothesis), _steps(_BULLET.findall(prose)))


def _steps(lines: Iterator[str] | list[str]) -> tuple[str, ...]:
    return tuple(flat for line in lines if (flat := one_line(line, 300)))[:_MAX_STEPS]


def findings_from(text: str) -> tuple[Finding, ...] | None:
    """Read a reviewer's findings; None when the answer is not in the form that was asked for.

    Only findings of the known blocking kinds count: a model's taste stops no program.
    """
    for value in json_objects(without_thinking(text)):
        listed = value.get("findings")
        if isinstance(listed, list):
            found = (_finding(item) for item in listed[:_MAX_FINDINGS])
            return tuple(item for item in found if item is not None)
    return None


def _finding(item: object) -> Finding | None:
    if not isinstance(item, dict):
        return None
    rule, message, line = item.get("rule"), item.get("message"), item.get("line")
    known_rule = _BLOCKING.get(rule) if isinstance(rule, str) else None
    if known_rule is None:
        return None
    if not isinstance(message, str) or not message.strip():
        return None
    known_line = line if isinstance(line, int) and not isinstance(line, bool) and line > 0 else 0
    return Finding(rule=known_rule, message=one_line(message, 300), line=known_line)


def veto_from(text: str) -> VetoOpinion | None:
    """Read a judge's opinion; None unless it has a boolean ``veto`` and a reason."""
    for value in json_objects(without_thinking(text)):
        veto, reason = value.get("veto"), value.get("reason")
        if isinstance(veto, bool) and isinstance(reason, str) and reason.strip():
            return VetoOpinion(veto, one_line(reason))
    return None
