"""Opinions of a language model: plans, findings and vetoes, or what is wrong with the reply."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from agents.reading.loose_json import FoundJson, JsonValue, json_values
from agents.reading.reasoning import answer_in
from agents.reading.refusals import is_refusal, no_answer
from evocodec.domain.candidate import Finding
from evocodec.domain.vocabulary import GateRule

MAX_TEXT = 600
MAX_STEPS = 12
MAX_STEP_TEXT = 600
_MAX_FINDINGS = 20
_MOST_READ = 300_000  # characters: an opinion is short, and it is read in the controller
_MAX_MESSAGE = 300
# What is skipped from the start of a line ends with the line: a reply of empty lines would else
# be searched once from each of them.
_LABELLED = re.compile(r"[^\w\n]*hypothesis[^\w\n:\-–]*[:\-–][^\S\n]*(.*)", re.IGNORECASE)
_BULLET = re.compile(r"[^\S\n]*(?:[-*•]|\d{1,2}[.)])[^\S\n]+(.+)")
_STEPS_BEGIN = re.compile(r"\W{0,8}(?:steps?|changes|plan)\b", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:^|\s)\d{1,2}[.)]\s+")
_STEP_NAMES = ("steps", "changes", "actions", "plan")
_BLOCKING = {rule.removeprefix("model/"): rule for rule in GateRule if rule.of_model}
_LINE = re.compile(r"\D{0,8}(\d{1,6})\b")
_PLACEHOLDER = re.compile(
    r"\W*\.{3}\W*|…|string|text|one or two sentences\b.*|what is wrong, and what to do .*"
    r"|the first concrete change\b.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PlanOpinion:
    """A hypothesis and its steps, of which there is at least one; ``note``: what was shortened."""

    hypothesis: str
    steps: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class VetoOpinion:
    """Whether a judge vetoes, and why."""

    veto: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply that is not what was asked for: why, in words for the model that wrote it.

    ``findings`` are objections in it, where only their weight is in doubt.
    """

    why: str
    findings: tuple[Finding, ...] = ()


Mapping: TypeAlias = "dict[str, JsonValue]"


def one_line(text: str, limit: int = MAX_TEXT) -> str:
    """Collapse white space and limit the length; text of a model goes into records."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def plan_from(text: str) -> PlanOpinion | Unreadable:
    """Read a plan: the last object that has a hypothesis and steps, else labelled prose."""
    answer = answer_in(text[-_MOST_READ:]).text
    found = [plan for value in json_values(answer) if (plan := _plan(value.value)) is not None]
    if found:
        return found[-1]
    labelled = None if is_refusal(answer) else _labelled(_without_code(answer))
    if labelled is not None:
        return labelled
    if any("hypothesis" in _lower(value.value) for value in json_values(answer)):
        return Unreadable('its JSON has no list of "steps" with at least one step')
    return Unreadable(no_answer(text[-_MOST_READ:], "no JSON object with a hypothesis and steps"))


def findings_from(text: str, quotable: str = "") -> tuple[Finding, ...] | Unreadable:
    """Read a reviewer's findings; ``quotable`` is text of others that it may have quoted.

    Only findings of the known blocking kinds count: a model's taste stops no program. An object
    that stands in the program too, as a trap or as an example, is no answer unless it is alone.
    """
    answer = answer_in(text[-_MOST_READ:]).text
    found = [value for value in json_values(answer) if _listed(value.value) is not None]
    if not found:
        return Unreadable(no_answer(text[-_MOST_READ:], 'no JSON object with a list of "findings"'))
    alone = len(found) == 1 and _is_alone(answer, found[0])
    flat = "" if alone else _squeezed(quotable)
    said = [value for value in found if _squeezed(answer[value.start : value.end]) not in flat]
    if alone:
        said = found
    if not said:
        return Unreadable("it only quotes the findings of somebody else, and gives none of its own")
    lists = [_findings(value.value) for value in said]
    together = tuple(dict.fromkeys(finding for found in lists for finding in found))
    empty = [not _listed(value.value) for value in said]
    if any(empty) and not all(empty):
        return Unreadable("it has a list of findings and an empty one: say which counts", together)
    return together


def veto_from(text: str) -> VetoOpinion | Unreadable:
    """Read a judge's opinion: a ``veto`` and a reason; two that disagree are none."""
    answer = answer_in(text[-_MOST_READ:]).text
    found = [veto for value in json_values(answer) if (veto := _veto(value.value)) is not None]
    if not found:
        return Unreadable(no_answer(text[-_MOST_READ:], "no JSON object with a veto and a reason"))
    if len({opinion.veto for opinion in found}) > 1:
        return Unreadable("it vetoes and does not veto: say which counts")
    return found[-1]


def _plan(value: JsonValue, depth: int = 0) -> PlanOpinion | None:
    if isinstance(value, list):
        plans = [plan for item in value if (plan := _plan(item, depth + 1)) is not None]
        return plans[-1] if len(plans) == 1 else None
    if not isinstance(value, dict) or depth > 3:
        return None
    named = _lower(value)
    hypothesis = named.get("hypothesis")
    if isinstance(hypothesis, str):
        steps = next((named[name] for name in _STEP_NAMES if named.get(name)), None)
        return _checked(hypothesis, _step_texts(steps))
    nested = [plan for item in value.values() if (plan := _plan(item, depth + 1)) is not None]
    return nested[0] if len(nested) == 1 else None


def _labelled(prose: str) -> PlanOpinion | None:
    """A plan in prose: what follows the word "hypothesis", and the list after it."""
    hypothesis: list[str] | None = None
    steps: list[str] = []
    ended = False
    for line in prose.split("\n"):
        if hypothesis is None:
            label = _LABELLED.match(line)
            hypothesis = [label[1].lstrip(" *_")] if label else None
            continue
        bullet = _BULLET.match(line)
        if bullet is not None:
            steps.append(bullet[1])
            ended = True
        elif not line.strip() or _STEPS_BEGIN.match(line):
            ended = ended or any(part.strip() for part in hypothesis)
        elif not ended:
            hypothesis.append(line)
    return _checked(" ".join(hypothesis), steps) if hypothesis else None


def _step_texts(steps: JsonValue) -> list[str]:
    """The steps as texts: a list of texts or of objects, or one text with numbers or lines."""
    if isinstance(steps, str):
        lines = [line for line in steps.split("\n") if line.strip()]
        if len(lines) == 1:
            lines = [part for part in _NUMBERED.split(steps) if part.strip()]
        return [re.sub(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+", "", line) for line in lines]
    if isinstance(steps, dict):
        return [text for item in steps.values() for text in _step_texts(item)]
    if isinstance(steps, list):
        return [_step_text(step) for step in steps]
    return []


def _step_text(step: JsonValue) -> str:
    if isinstance(step, str):
        return step
    if isinstance(step, dict):
        return ": ".join(item for item in step.values() if isinstance(item, str) and item.strip())
    return ""


def _checked(hypothesis: str, steps: Sequence[str]) -> PlanOpinion | None:
    """A plan with something in it, within its bounds; None for a form that was not filled in."""
    texts = [" ".join(step.split()) for step in steps]
    texts = [step for step in texts if step and not _PLACEHOLDER.fullmatch(step)]
    flat = " ".join(hypothesis.split())
    if not texts or not re.search(r"[^\W\d_]{2}", flat) or _PLACEHOLDER.fullmatch(flat):
        return None
    cut = [
        f"{name} cut to {limit} {what}"
        for name, size, limit, what in (
            ("hypothesis", len(flat), MAX_TEXT, "characters"),
            ("steps", len(texts), MAX_STEPS, "steps"),
            ("a step", max(map(len, texts)), MAX_STEP_TEXT, "characters"),
        )
        if size > limit
    ]
    kept = tuple(one_line(step, MAX_STEP_TEXT) for step in texts[:MAX_STEPS])
    return PlanOpinion(one_line(flat), kept, ", ".join(cut))


def _listed(value: JsonValue) -> list[JsonValue] | None:
    """The list of findings in a value; None where there is none."""
    if isinstance(value, list):
        known = all(isinstance(item, dict) and "rule" in _lower(item) for item in value)
        return value if known else None
    if not isinstance(value, dict):
        return None
    listed = _lower(value).get("findings")
    if isinstance(listed, dict):
        return [listed] if listed else []
    return listed if isinstance(listed, list) else None


def _findings(value: JsonValue) -> tuple[Finding, ...]:
    found = (_finding(item) for item in (_listed(value) or [])[:_MAX_FINDINGS])
    return tuple(item for item in found if item is not None)


def _finding(item: JsonValue) -> Finding | None:
    if not isinstance(item, dict):
        return None
    named = _lower(item)
    rule, message = named.get("rule"), named.get("message")
    if not isinstance(rule, str):
        return None
    known = _BLOCKING.get(re.sub(r"[\s-]+", "_", rule.strip().lower()).removeprefix("model/"))
    if known is None or not isinstance(message, str) or not message.strip():
        return None
    if _PLACEHOLDER.fullmatch(message.strip()):
        return None
    return Finding(rule=known, message=one_line(message, _MAX_MESSAGE), line=_line(named))


def _line(finding: Mapping) -> int:
    line = finding.get("line")
    if isinstance(line, bool):
        return 0
    if isinstance(line, int | float):
        return int(line) if 0 < line < 10**6 else 0
    match = _LINE.match(line) if isinstance(line, str) else None
    return int(match[1]) if match else 0


def _veto(value: JsonValue) -> VetoOpinion | None:
    if not isinstance(value, dict):
        return None
    named = _lower(value)
    said, reason = named.get("veto"), named.get("reason")
    words: dict[JsonValue, bool] = {"true": True, "yes": True, "false": False, "no": False}
    veto = said if isinstance(said, bool) else None
    if isinstance(said, str):
        veto = words.get(said.strip().lower())
    elif isinstance(said, float) and said in {0.0, 1.0}:
        veto = bool(said)
    if veto is None or not isinstance(reason, str) or not reason.strip():
        return None
    return VetoOpinion(veto, one_line(reason))


def _lower(value: JsonValue) -> Mapping:
    """An object with its names in lower case; empty for anything else."""
    if not isinstance(value, dict):
        return {}
    return {name.strip().lower(): item for name, item in value.items()}


def _is_alone(answer: str, value: FoundJson) -> bool:
    """Whether a value is the whole reply, but for a fence round it."""
    rest = answer[: value.start] + answer[value.end :]
    return not re.sub(r"```\w*|~~~\w*|\s", "", rest)


def _squeezed(text: str) -> str:
    return re.sub(r"[\s\\\"'`“”‘’]+", "", text)


def _without_code(answer: str) -> str:
    return re.sub(r"```.*?(?:```|\Z)", "", answer, flags=re.DOTALL)
