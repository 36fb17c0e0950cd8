"""Facts that ``GET /models`` tells about a model: the size of its context, and its prices."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evocodec.models.answers import parse

_CONTEXT = (
    "max_model_len",  # vLLM, SGLang
    "n_ctx",  # llama.cpp server, llama-cpp-python
    "loaded_context_length",  # LM Studio
    "context_length",  # OpenRouter, Together, Moonshot
    "context_window",  # Groq
    "max_context_length",  # Mistral, LM Studio
    "max_input_tokens",  # Anthropic, LiteLLM
    "inputTokenLimit",  # Gemini's own form
)
_BELOW = ("meta", "top_provider", "limits", "model_info", "metadata")
"""Objects of an entry in which the same names may stand."""
_MOST_TOKENS = 100_000_000
_MOST_USD_PER_MILLION = 10_000.0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a list says of one model; 0 and None: nothing.

    Prices are in US dollars per million tokens.
    """

    listed: bool = False
    context_tokens: int = 0
    input_usd_per_million: float | None = None
    output_usd_per_million: float | None = None


def facts_of(model: str, body: str) -> ModelFacts:
    """Return what the answer to ``GET /models`` says of a model; any text is read."""
    entry = next((one for one in _entries(parse(body)) if model in _names(one)), None)
    if entry is None:
        return ModelFacts()
    below = (entry.get(name) for name in _BELOW)
    places: list[Mapping[str, object]] = [entry]
    places += [place for place in below if isinstance(place, Mapping)]
    sizes = (_tokens(place.get(name)) for name in _CONTEXT for place in places)
    pricing = entry.get("pricing")
    prices = pricing if isinstance(pricing, Mapping) else {}
    return ModelFacts(
        listed=True,
        context_tokens=next(filter(None, sizes), 0),
        input_usd_per_million=_price(prices.get("prompt")),
        output_usd_per_million=_price(prices.get("completion")),
    )


def _entries(tree: object) -> Iterator[Mapping[str, object]]:
    listed = tree
    if isinstance(tree, Mapping):
        listed = tree.get("data", tree.get("models"))
    if isinstance(listed, list):
        yield from (one for one in listed if isinstance(one, Mapping))


def _names(entry: Mapping[str, object]) -> list[object]:
    aliases = entry.get("aliases")
    more = aliases if isinstance(aliases, list) else []
    return [entry.get("id"), entry.get("name"), entry.get("model"), *more]


def _tokens(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 < value < _MOST_TOKENS else 0


def _price(value: object) -> float | None:
    """Return OpenRouter's price, a text in US dollars per token; a negative one means varying."""
    if not isinstance(value, str):
        return None
    try:
        price = float(value) * 1e6
    except ValueError:
        return None
    return price if math.isfinite(price) and 0 <= price < _MOST_USD_PER_MILLION else None
