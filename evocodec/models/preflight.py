"""Preflight: one short question to each endpoint, before anything expensive is started."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import ConfigError
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.models.contract import ChatMessage
from evocodec.models.endpoint import Endpoint, endpoint_for
from evocodec.models.gateway import ModelGateway
from evocodec.models.knowledge import Learnt
from evocodec.models.model_list import ModelFacts, facts_of

QUESTION = (
    ChatMessage("system", "You are asked whether you can be reached."),
    ChatMessage("user", "Answer with the one word: ready"),
)
_MOST_TOKENS = 32  # of the answer; what it says does not matter
_LIST_SECONDS = 10.0
_TAGGED = re.compile(r"^\s*<(\w{2,20})>")
_NO_ROOM_TO_ANSWER = "output limit was reached"  # OpenAI's reasoning models: they were reached


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What was found out about one endpoint; ``text`` says it to people."""

    roles: tuple[ModelRole, ...]
    model: str
    url: str
    context_tokens: int
    text: str


def preflight(
    settings: ModelSettings, gateway: Callable[[ModelSettings], ModelGateway], attempt: int
) -> tuple[EndpointReport, ...]:
    """Ask each endpoint that the roles use once; what is learnt stays with the gateway's knowledge.

    ``gateway`` makes a gateway for settings; it is closed here. Raises as ``ChatGateway.chat``
    does: ConfigError for a key, a model or a URL that the endpoint does not take.
    """
    asked = _short(settings)
    one = gateway(asked)
    try:
        return tuple(
            _ask(one, endpoint_for(asked, roles[0]), roles, attempt)
            for roles in _by_server(settings)
        )
    finally:
        one.close()


def _by_server(settings: ModelSettings) -> list[tuple[ModelRole, ...]]:
    groups: dict[object, list[ModelRole]] = {}
    for role in settings.roles:
        endpoint = endpoint_for(settings, role)
        same = (endpoint.server, endpoint.api_key, endpoint.headers)
        groups.setdefault(same, []).append(role)
    return [tuple(roles) for roles in groups.values()]


def _short(settings: ModelSettings) -> ModelSettings:
    """Return settings with which every role gets a short reply."""
    limit = {"max_tokens": _MOST_TOKENS}
    roles = {role.value: settings.of_role(role).model_copy(update=limit) for role in ModelRole}
    return settings.model_copy(update={**limit, **roles})


def _ask(
    gateway: ModelGateway, endpoint: Endpoint, roles: Sequence[ModelRole], attempt: int
) -> EndpointReport:
    text = ""
    try:
        reply = gateway.chat(
            roles[0],
            QUESTION,
            candidate_id="",
            attempt=attempt,
            template_sha256="",
            classify=lambda _text: CallOutcome.OK,
        )
        text = reply.text
    except ConfigError as error:
        if _NO_ROOM_TO_ANSWER not in str(error):
            raise
    facts = facts_of(endpoint.model, gateway.list_models(endpoint, _LIST_SECONDS))
    gateway.knowledge.facts(endpoint, facts)
    learnt = gateway.knowledge.of(endpoint)
    said = _text(endpoint, roles, learnt, facts, text)
    gateway.tell_found(endpoint, said)
    return EndpointReport(
        tuple(roles), endpoint.model, endpoint.shown_url, learnt.context_tokens, said
    )


def _text(
    endpoint: Endpoint, roles: Sequence[ModelRole], learnt: Learnt, facts: ModelFacts, reply: str
) -> str:
    parts = [f"{endpoint.model} at {endpoint.shown_url} answers ({', '.join(roles)})"]
    if learnt.context_tokens:
        parts.append(f"context {learnt.context_tokens:,} tokens")
    if learnt.streams is False and endpoint.stream:
        parts.append("it answers all at once: a slow reply has only its time-out")
    form = learnt.reasoning or (m[1] if (m := _TAGGED.match(reply)) else "")
    if form:
        parts.append(f"it reasons ({form})")
    parts.extend(f"Evocodec {change.told}" for change in learnt.changes)
    of_input, of_output = (facts.input_usd_per_million, facts.output_usd_per_million)
    if of_input is not None and of_output is not None:
        parts.append(f"${of_input:g} and ${of_output:g} for a million tokens in and out")
    elif not (endpoint.price_input_usd_per_million or endpoint.price_output_usd_per_million):
        parts.append("no price is known")
    return "; ".join(parts)


def require_room(found: Sequence[EndpointReport], programs: Sequence[str]) -> None:
    """Raise ConfigError where a program alone is longer than a context: no prompt would fit."""
    longest = max((len(text) for text in programs), default=0)
    for one in found:
        fewest = longest // 5  # no tokenizer needs fewer tokens for code
        if 0 < one.context_tokens < fewest:
            raise ConfigError(
                f"the program that the run starts from has {fewest:,} tokens or more, and the "
                f"context of {one.model} at {one.url} is {one.context_tokens:,} tokens: use a "
                f"model with a longer context, raise the server's (Ollama: num_ctx, vLLM: "
                f"--max-model-len, llama.cpp: -c), or start from a shorter program (--program)"
            )
