"""Token counts and costs that endpoints state, believed only as far as they are plausible."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evocodec.models.contract import ChatMessage
from evocodec.models.endpoint import Endpoint

CHARACTERS_PER_TOKEN = 3.0  # on the safe side for code; used where the server gives no count
_OF_FORM = 8  # tokens around one message
_CUT_SHARE = 0.5  # fewer prompt tokens than this share of the estimate: not all of it was read
_WORDS_SHARE = 0.5  # of a text's words: no tokenizer needs fewer tokens than half of them
_MOST_REASONING = 200_000  # tokens beyond the limit that a reply may have been thought about
_DEAREST_USD_PER_TOKEN = 0.002  # ten times the dearest model on sale


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request used: tokens in and out, of those in how many were cached, and its cost.

    ``cost_usd`` is the provider's own figure, or None where it states none.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Booked:
    """What is entered for a call; ``cut``: the prompt seems not to have been read whole."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    cut: bool = False

    def __add__(self, other: "Booked") -> "Booked":
        """Return both together."""
        return Booked(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost_usd + other.cost_usd,
            self.cut or other.cut,
        )


def read_usage(stated: object) -> Usage | None:
    """Return a server's ``usage`` in one form, or None where it has none.

    Reasoning that is counted beside the completion (xAI, proxies of Gemini) belongs to it: the
    total then is more than the sum. Input from a cache is counted inside the prompt by OpenAI,
    beside it by Anthropic.
    """
    if not isinstance(stated, Mapping):
        return None
    prompt = _first(stated, "prompt_tokens", "input_tokens")
    completion = _first(stated, "completion_tokens", "output_tokens")
    total = _count(stated.get("total_tokens"))
    details = _mapping(stated, "prompt_tokens_details", "input_tokens_details")
    cached = _first(details, "cached_tokens")
    if cached is None:
        cached = _first(stated, "prompt_cache_hit_tokens", "cached_tokens")
    beside = _first(stated, "cache_read_input_tokens")
    written = _first(stated, "cache_creation_input_tokens") or 0
    if cached is None and beside is not None:
        cached = beside
    if prompt is not None and beside is not None and total != prompt + (completion or 0):
        prompt += beside + written
    reasoning = _first(
        _mapping(stated, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens"
    )
    if reasoning is None:
        reasoning = _first(stated, "reasoning_tokens")
    completion = _with_reasoning(prompt, completion, total, reasoning)
    return Usage(prompt, completion, min(cached or 0, prompt or 0), _cost(stated))


def _with_reasoning(
    prompt: int | None, completion: int | None, total: int | None, reasoning: int | None
) -> int | None:
    if prompt is not None and total is not None and total > prompt + (completion or 0):
        return total - prompt
    if reasoning is not None and completion is not None and reasoning > completion:
        return completion + reasoning
    return completion


def estimate_text(text: str) -> int:
    """Return how many tokens a text has at most, for code and English."""
    return int(len(text) / CHARACTERS_PER_TOKEN) + 1


def estimate(messages: Sequence[ChatMessage]) -> int:
    """Return how many tokens a prompt has at most, for code and English."""
    return sum(estimate_text(message.content) + _OF_FORM for message in messages)


def worst(endpoint: Endpoint, prompt_tokens: int) -> Booked:
    """Return what a request costs at most, where nobody says what it did cost."""
    cost = endpoint.cost_usd(prompt_tokens, endpoint.max_tokens)
    return Booked(prompt_tokens, endpoint.max_tokens, cost)


def book(
    endpoint: Endpoint, messages: Sequence[ChatMessage], reply: str, usage: Usage | None
) -> Booked:
    """Return what to enter for a reply: what the server says if it can be true, else the worst.

    Where no count is given that of the reply's text is taken: its reasoning is not known then.
    """
    usage = usage or Usage()
    expected = estimate(messages)
    prompt, cut = usage.prompt_tokens, False
    if prompt is None or not 0 < prompt <= _most_prompt(messages):
        prompt = expected
    elif expected > 1000 and prompt < _CUT_SHARE * expected:
        # A server that cut the prompt, or one that says too little: the worst is booked.
        prompt, cut = expected, True
    completion = usage.completion_tokens
    least = _WORDS_SHARE * len(reply.split())
    if completion is None or completion < least or (completion == 0 and reply):
        completion = estimate_text(reply) if reply else completion or 0
    elif completion > endpoint.max_tokens + _MOST_REASONING:
        completion = endpoint.max_tokens
    cached = min(usage.cached_tokens, prompt)
    by_price = endpoint.cost_usd(prompt, completion, cached_tokens=cached)
    return Booked(prompt, completion, _believed(usage.cost_usd, by_price, prompt, completion), cut)


def _believed(stated: float | None, by_price: float, prompt: int, completion: int) -> float:
    """Return the provider's own figure, unless it is nothing for what has a price, or absurd."""
    if stated is None or (stated == 0 and by_price > 0):
        return by_price
    if stated > _DEAREST_USD_PER_TOKEN * max(prompt + completion, 1000):
        return by_price
    return stated


def _most_prompt(messages: Sequence[ChatMessage]) -> int:
    """Return how many tokens a prompt could have at all: one for each byte, and its form."""
    return sum(len(message.content.encode(errors="replace")) for message in messages) + 4096


def _cost(stated: Mapping[object, object]) -> float | None:
    """Return the cost in US dollars as OpenRouter states it (``cost``, and what it passes on).

    A customer's own key: OpenRouter's ``cost`` is its fee alone then, and the provider's price
    stands in ``cost_details.upstream_inference_cost``.
    """
    cost = _dollars(stated.get("cost"))
    if cost is None or not stated.get("is_byok"):
        return cost
    details = stated.get("cost_details")
    passed_on = details.get("upstream_inference_cost") if isinstance(details, Mapping) else None
    return cost + (_dollars(passed_on) or 0.0)


def cost_in(header: str) -> float | None:
    """Return a cost in US dollars that stands in a header as text."""
    try:
        return _dollars(float(header))
    except ValueError:
        return None


def _dollars(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _first(stated: Mapping[object, object], *names: str) -> int | None:
    return next((n for n in map(_count, map(stated.get, names)) if n is not None), None)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if value >= 0 else None


def _mapping(stated: Mapping[object, object], *names: str) -> Mapping[object, object]:
    found = (stated.get(name) for name in names)
    return next((each for each in found if isinstance(each, Mapping)), {})
