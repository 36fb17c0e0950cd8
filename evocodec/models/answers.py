"""Answers of chat completions: whole, or put together from a stream of server-sent events."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from evocodec.domain.vocabulary import CallOutcome
from evocodec.models.failure import Billing, CallFailed
from evocodec.models.provider_errors import error_in_answer, read_error
from evocodec.models.usage import Usage, cost_in, read_usage

_REASONING = ("reasoning_content", "reasoning")
"""Where a reply's reasoning stands beside its text: DeepSeek and vLLM; OpenRouter and Ollama."""
MOST_CHARACTERS = 20_000_000
"""Of one answer: more is no reply of a model, and memory is finite."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply as it came.

    ``reasoning`` is text that the model wrote for itself, as far as the server shows it.
    """

    text: str
    finish_reason: str
    refusal: bool
    usage: Usage | None = None
    reasoning: str = ""
    model: str = ""


def malformed(why: str, usage: Usage | None, *, billing: Billing = Billing.UNKNOWN) -> CallFailed:
    """Return the failure of an answer that is no chat completion; it may have been paid for."""
    told = usage is not None and usage.completion_tokens is not None
    return CallFailed(
        CallOutcome.MALFORMED,
        f"not an OpenAI chat completion: {why}",
        retriable=True,
        billing=Billing.TOLD if told else billing,
        usage=usage,
    )


def read_whole(body: str) -> Completion:
    """Return the reply in an answer with status 200; raises CallFailed where there is none."""
    answer = parse(body)
    if not isinstance(answer, Mapping):
        page = body.lstrip()[:1] == "<"
        said = read_error(200, body).message[:200]
        # Nobody is charged for a proxy's page.
        raise malformed(said, None, billing=Billing.NOTHING if page else Billing.UNKNOWN)
    usage = read_usage(answer.get("usage"))
    failed = error_in_answer(answer, body)
    if failed is not None:
        raise _with_usage(failed, usage)
    choice = _first_choice(answer, usage)
    failed = error_in_answer({"error": choice.get("error"), "choices": []}, body)
    if failed is not None:
        raise _with_usage(failed, usage)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        if not isinstance(choice.get("text"), str):
            raise malformed("its choice has no message", usage)
        message = {"content": choice["text"]}  # a server that answers as for completions
    refusal = message.get("refusal")
    finish = _text(choice.get("finish_reason"))
    text = _content(message.get("content")) or _text(refusal)
    return Completion(
        text=text,
        finish_reason=finish,
        refusal=bool(refusal) or finish == "content_filter",
        usage=usage,
        reasoning=next(filter(None, (_content(message.get(n)) for n in _REASONING)), ""),
        model=_text(answer.get("model")),
    )


def with_cost(completion: Completion, headers: Mapping[str, str]) -> Completion:
    """Return a reply with the cost that LiteLLM states in a header, if its usage has none."""
    cost = cost_in(headers.get("x-litellm-response-cost", ""))
    usage = completion.usage
    if cost is None or usage is None or usage.cost_usd is not None:
        return completion
    return replace(completion, usage=replace(usage, cost_usd=cost))


def parse(text: str) -> Any:
    """Return the JSON in a text, or None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _with_usage(failed: CallFailed, usage: Usage | None) -> CallFailed:
    if usage is not None and usage.completion_tokens is not None:
        failed.usage, failed.billing = usage, Billing.TOLD
    return failed


def _first_choice(answer: Mapping[str, object], usage: Usage | None) -> Mapping[str, object]:
    choices = answer.get("choices")
    if not isinstance(choices, list):
        raise malformed("it has no choices", usage)
    if not choices:
        raise malformed("its choices are empty", usage)
    if not isinstance(choices[0], Mapping):
        raise malformed("its choice is no object", usage)
    return choices[0]


def _content(value: object) -> str:
    """Return a message's text: plain, or in parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part) for part in value)
    return ""


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type", "text") in ("text", "output_text"):
        return _text(part.get("text"))
    return ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


@dataclass
class StreamedAnswer:
    """An answer that arrives as server-sent events (WHATWG HTML, 9.2), a line at a time."""

    begun: bool = False
    done: bool = False
    characters: int = 0
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _refusal: list[str] = field(default_factory=list)
    _data: list[str] = field(default_factory=list)
    _finish: str = ""
    _model: str = ""
    usage: Usage | None = None

    def line(self, line: str) -> None:
        """Take in one line; raises CallFailed for an error that the stream carries."""
        if not line:
            self._dispatch()
        elif line.startswith("data:"):
            data = line[5:].strip()
            # Nearly every event is one line; the empty line after it may be missing.
            chunk = None if self._data else parse(data)
            if isinstance(chunk, Mapping):
                self._take(chunk, data)
            elif not self._data and data == "[DONE]":
                self.done = True
            else:
                self._data.append(data)

    def completion(self) -> Completion:
        """Return the whole; raises CallFailed where nothing came, or the stream broke off."""
        self._dispatch()
        if not self.begun:
            raise malformed("its stream of events is empty", self.usage)
        if not self.done and not self._finish:
            raise CallFailed(
                CallOutcome.CONNECTION,
                f"the reply broke off after {self.characters:,} characters",
                retriable=True,
                billing=Billing.UNKNOWN,
                usage=self.usage,
            )
        refusal = "".join(self._refusal)
        return Completion(
            text="".join(self._text) or refusal,
            finish_reason=self._finish,
            refusal=bool(refusal) or self._finish == "content_filter",
            usage=self.usage,
            reasoning="".join(self._reasoning),
            model=self._model,
        )

    def _dispatch(self) -> None:
        data, self._data = "\n".join(self._data).strip(), []
        if not data:
            return
        chunk = parse(data)
        if not isinstance(chunk, Mapping):
            raise malformed(f"an event of its stream is no object: {data[:100]}", self.usage)
        self._take(chunk, data)

    def _take(self, chunk: Mapping[str, Any], data: str) -> None:
        self.usage = read_usage(chunk.get("usage")) or self.usage
        failed = error_in_answer(chunk, data) if "choices" not in chunk else None
        choices = chunk.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else {}
        if failed is None and isinstance(first, Mapping) and first.get("error"):
            failed = error_in_answer({"error": first["error"]}, data)
        if failed is None and chunk.get("error"):
            failed = error_in_answer(chunk, data)
        if failed is not None:
            raise _with_usage(failed, self.usage)
        if not isinstance(choices, list):
            return  # an event of the server's own: a ping, timings
        self.begun = True
        self._model = self._model or _text(chunk.get("model"))
        if isinstance(first, Mapping):
            self._take_choice(first)

    def _take_choice(self, choice: Mapping[str, Any]) -> None:
        self._finish = _text(choice.get("finish_reason")) or self._finish
        delta = choice.get("delta", choice.get("message"))
        if not isinstance(delta, Mapping):
            delta = {"content": choice.get("text")}
        for parts, piece in (
            (self._text, _content(delta.get("content"))),
            (self._refusal, _text(delta.get("refusal"))),
            (self._reasoning, next(filter(None, (_content(delta.get(n)) for n in _REASONING)), "")),
        ):
            if piece:
                parts.append(piece)
                self.characters += len(piece)


def lines_of(text: str) -> Iterator[str]:
    """Yield the lines of an event stream: CR, LF and CRLF end one, and nothing else does."""
    yield from text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
