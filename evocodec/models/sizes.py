"""Sizes of one call: how long its reply may be, and how long it may take.

Where the settings leave them open they follow from the prompt, which holds the program, and from
what is known of the model.
"""

from collections.abc import Sequence
from dataclasses import replace

from evocodec.domain.vocabulary import ModelRole
from evocodec.models.contract import ChatMessage
from evocodec.models.endpoint import Endpoint
from evocodec.models.knowledge import Learnt
from evocodec.models.usage import estimate

_USUAL_TOKENS = 16_000  # of a reply without a program: some of it is reasoning
_BESIDE_PROGRAM = 8_000  # for the reasoning and the words around a whole program
_MOST_TOKENS = 64_000  # what large models write at most; others say less when they are asked
_SPARE_TOKENS = 64  # of the context, for the form of the messages
FEWEST_TOKENS = 1_024  # a reply that is shorter is of no use: then the prompt is too long
_SLOWEST_TOKENS_PER_SECOND = 10.0  # of a model that is still worth waiting for
_SLOWEST_READING = 100.0  # tokens of a prompt that such a model reads in a second
_BEFORE_SECONDS = 120.0  # in a queue, and to load a model


def sized(endpoint: Endpoint, messages: Sequence[ChatMessage], learnt: Learnt) -> Endpoint:
    """Return the endpoint with the token limit and the time-out of this call."""
    prompt = prompt_tokens(messages, learnt)
    wanted = endpoint.max_tokens or _wanted(endpoint.role, prompt)
    if learnt.most_tokens:
        wanted = min(wanted, learnt.most_tokens)
    if learnt.context_tokens:
        room = learnt.context_tokens - prompt - _SPARE_TOKENS
        wanted = min(wanted, max(room, FEWEST_TOKENS))
    seconds = endpoint.timeout_seconds or (
        _BEFORE_SECONDS + prompt / _SLOWEST_READING + wanted / _SLOWEST_TOKENS_PER_SECOND
    )
    sized_endpoint = replace(endpoint, max_tokens=wanted, timeout_seconds=seconds)
    unpriced = not (endpoint.price_input_usd_per_million or endpoint.price_output_usd_per_million)
    if unpriced and learnt.prices_usd_per_million is not None:
        of_input, of_output = learnt.prices_usd_per_million
        return replace(
            sized_endpoint,
            price_input_usd_per_million=of_input,
            price_output_usd_per_million=of_output,
        )
    return sized_endpoint


def first_token_seconds(endpoint: Endpoint, messages: Sequence[ChatMessage]) -> float:
    """Return how long a streamed reply may take to begin: a long prompt has to be read first."""
    return endpoint.idle_seconds + estimate(messages) / _SLOWEST_READING


def prompt_tokens(messages: Sequence[ChatMessage], learnt: Learnt) -> int:
    """Return how many tokens a prompt has at most, by the server's own counts if it gave any."""
    guess = estimate(messages)
    if not learnt.tokens_per_character:
        return guess
    characters = sum(len(message.content) for message in messages)
    return min(guess, int(characters * learnt.tokens_per_character * 1.05) + 100)


def _wanted(role: ModelRole, prompt: int) -> int:
    """Return the limit that fits a role: a coder's reply may be the whole program."""
    if role is not ModelRole.CODER:
        return _USUAL_TOKENS
    return min(max(_USUAL_TOKENS, prompt + _BESIDE_PROGRAM), _MOST_TOKENS)
