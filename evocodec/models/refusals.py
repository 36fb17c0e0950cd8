"""Parameters that a model refuses: what its error says, and what is changed to go on.

The table is data with sources; what it finds is applied once, for the rest of the run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evocodec.models.failure import ErrorFacts

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
_PROTECTED = frozenset({"model", "messages"})
_UNSUPPORTED = re.compile(
    r"unsupported|not support|n't support|unrecogni[sz]ed|unknown|unexpected|not permitted|"
    r"not allowed|no longer|deprecated|not (?:a )?(?:valid|recogni[sz]ed|available|enabled)|"
    r"invalid|extra (?:inputs|fields)|additional propert|cannot (?:be|find|both)|only\b.{0,40}\b"
    r"(?:allowed|supported|permitted)|does not match|forbidden|must be|must not|required to be|"
    r"\boff here\b|out of range|range:|greater than|less than",
    re.IGNORECASE | re.DOTALL,
)
_NO_SYSTEM_ROLE = re.compile(
    # Gemma's chat template (vLLM #2964); Mistral's and Llama 2's; o1-mini; Gemini's gemma; dspy
    # #1627; sglang #892.
    r"system (?:role|messages?|prompts?|instructions?)\W+(?:(?:is|are)\W+)?(?:not|un)\W*supported|"
    r"(?:not|n't) support\w*\W+(?:(?:the|a|any)\W+)?[`'\"]?(?:system|developer)\b|"
    r"developer instruction is not enabled|conversation roles must alternate|"
    r"only user(?:,| and) (?:and )?assistant|unexpected role\W+(?:system|developer)|"
    r"roles?\b.{0,60}\b(?:system|developer)\b.{0,60}(?:not|unsupported|invalid|unknown)|"
    r"(?:invalid|unknown|unsupported|unexpected)\b.{0,30}\brole\b.{0,30}\b(?:system|developer)|"
    r"invalid value: '(?:system|developer)'|"
    r"first message must be (?:a |from |of )?(?:the )?['\"]?user",
    re.IGNORECASE | re.DOTALL,
)
_TOO_MANY = re.compile(
    # OpenAI "max_tokens is too large: 32000. This model supports at most 16384"; Anthropic
    # "max_tokens: 100000 > 64000, which is the maximum"; DeepSeek "the valid range of max_tokens is
    # [1, 8192]"; Groq "must be less than or equal to `8192`"; Gemini "supported range is from 1
    # (inclusive) to 65537 (exclusive)".
    r"too large|at most|maximum|valid range|less than|supported range|exceed|<=|must be|greater",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.])\d[\d,_]*(?![\w.]*[A-Za-z])")
_DROPPED = {
    "temperature": "temperature=unset",
    "stream": "stream=false",
    "max_tokens": "token_limit_name=none",
    "max_completion_tokens": "token_limit_name=none",
}
_FEWEST_TOKENS = 256  # a smaller number in an error is no limit of a reply


@dataclass(frozen=True, slots=True)
class Change:
    """One change of what is sent: a field that is left out, renamed or lowered; a folded role.

    ``setting`` is the setting that says the same from the start.
    """

    kind: str
    field: str
    value: int = 0

    @property
    def told(self) -> str:
        """What is done, for people."""
        match self.kind:
            case "rename":
                return f"sends {_other(self.field)} in place of {self.field}"
            case "lower":
                return f"asks for {self.value:,} tokens at most"
            case "fold":
                return "puts the instructions in front of the user's message"
            case "system":
                return "sends instructions as 'system', not as 'developer'"
            case _:
                return f"leaves {self.field} out"

    @property
    def setting(self) -> str:
        """The setting that says so from the start, with its value; empty where there is none."""
        if self.kind == "drop":
            return _DROPPED.get(self.field, "")
        return {
            "rename": f"token_limit_name={_other(self.field)}",
            "lower": f"max_tokens={self.value}",
            "fold": "system_role=no",
        }.get(self.kind, "")


def refused(facts: ErrorFacts, payload: Mapping[str, Any]) -> Change | None:
    """Return the change that makes a refused request acceptable, or None where none is known."""
    said = " ".join((facts.message, *facts.codes))
    roles = {message.get("role") for message in payload.get("messages", ())}
    if _NO_SYSTEM_ROLE.search(said):
        if "developer" in roles and "developer" in said and "system" in said:
            return Change("system", "role")
        if roles & {"system", "developer"}:
            return Change("fold", "role")
    limit = next((name for name in TOKEN_LIMITS if name in payload), "")
    if limit:
        change = _of_token_limit(limit, int(payload[limit]), facts, said)
        if change:
            return change
    named = _named_field(facts, said, payload)
    if named == "stream" and "stream_options" in payload and "stream_options" in said:
        named = "stream_options"
    return Change("drop", named) if named else None


def _of_token_limit(name: str, sent: int, facts: ErrorFacts, said: str) -> Change | None:
    other = _other(name)
    mentioned = any(each in said for each in (*TOKEN_LIMITS, "maxOutputTokens", "max_new_tokens"))
    if not mentioned and facts.parameter not in TOKEN_LIMITS:
        return None
    suggests = re.search(rf"(?:use|instead|renamed|try)\b.{{0,30}}{other}\b", said, re.IGNORECASE)
    if suggests:
        return Change("rename", name)
    if _TOO_MANY.search(said):
        counts = [int(re.sub(r"\D", "", found)) for found in _NUMBER.findall(said)]
        lower = [count for count in counts if _FEWEST_TOKENS <= count < sent]
        if lower:
            most = max(lower)
            return Change("lower", name, most - 1 if "exclusive" in said else most)
    objected = facts.parameter in ("", name) and re.search(rf"\b{name}\b", said)
    if (facts.parameter == name or objected) and _UNSUPPORTED.search(said):
        return Change("rename", name)
    return None


def _named_field(facts: ErrorFacts, said: str, payload: Mapping[str, Any]) -> str:
    """Return the field of the request that an error objects to, or nothing."""
    fields = [name for name in payload if name not in _PROTECTED]
    parameter = re.split(r"[.\[]", facts.parameter)[0]
    if parameter in fields:
        return parameter
    if not _UNSUPPORTED.search(said):
        return ""
    # The longest name first: `stream` is in `stream_options`.
    for name in sorted(fields, key=len, reverse=True):
        spoken = name.replace("_", "[_ ]?")
        if name == "stream":
            spoken = "stream(?:ing)?"
        if re.search(rf"(?<![A-Za-z_]){spoken}(?![A-Za-z_])", said, re.IGNORECASE):
            return name
    return ""


def _other(name: str) -> str:
    return "max_tokens" if name == "max_completion_tokens" else "max_completion_tokens"


def apply(changes: tuple[Change, ...], payload: dict[str, Any]) -> dict[str, Any]:
    """Return a request with what was learnt."""
    payload = dict(payload)
    for change in changes:
        match change.kind:
            case "rename" if change.field in payload:
                payload[_other(change.field)] = payload.pop(change.field)
            case "lower":
                for name in TOKEN_LIMITS:
                    if name in payload:
                        payload[name] = min(payload[name], change.value)
            case "drop":
                payload.pop(change.field, None)
                if change.field == "stream":
                    payload.pop("stream_options", None)
            case "system":
                payload["messages"] = _renamed_roles(payload["messages"])
            case "fold":
                payload["messages"] = folded(payload["messages"])
    return payload


def _renamed_roles(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**message, "role": "system"} if message["role"] == "developer" else message
        for message in messages
    ]


def folded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages with the instructions in front of the first user's message.

    Two messages of one role in a row become one: templates without a system role want them to
    alternate.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message["role"] == "assistant" else "user"
        if found and found[-1]["role"] == role:
            found[-1] = {"role": role, "content": f"{found[-1]['content']}\n\n{message['content']}"}
        else:
            found.append({"role": role, "content": message["content"]})
    return found
