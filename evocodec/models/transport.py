"""HTTP requests to OpenAI-compatible endpoints, with a name for every kind of failure."""

import asyncio
import codecs
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import httpx2
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from evocodec import __version__
from evocodec.domain.errors import ConfigError
from evocodec.domain.vocabulary import CallOutcome
from evocodec.models.answers import (
    MOST_CHARACTERS,
    Completion,
    StreamedAnswer,
    lines_of,
    malformed,
    read_whole,
    with_cost,
)
from evocodec.models.contract import ChatMessage
from evocodec.models.endpoint import Endpoint
from evocodec.models.failure import Billing, CallFailed
from evocodec.models.network import Route, route_to, tls_context
from evocodec.models.provider_errors import error_from
from evocodec.models.refusals import Change, apply, folded
from evocodec.models.secrecy import redacted, without_keys
from evocodec.models.sizes import first_token_seconds

_CONNECT_SECONDS = 30.0
_GATEWAY_GAVE_UP = frozenset({408, 499, 502, 504, *range(520, 528)})
"""Statuses of a proxy whose model may still have answered, and be paid for."""
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
_EVENT_FIELDS = ("data:", "event:", "id:", "retry:", ":")
_NO_CLIENT: Any = object()


@dataclass
class RequestProgress:
    """How far a request has come; ``life`` is when the server last sent a part of a reply."""

    sent: bool = False
    streamed: bool = False
    life: float | None = None


@dataclass(frozen=True)
class Ask:
    """One request: where to, what, and what was learnt about its form.

    ``patient``: the server is known to answer all at once, so its silence means nothing.
    """

    endpoint: Endpoint
    messages: Sequence[ChatMessage]
    changes: tuple[Change, ...] = ()
    patient: bool = False
    progress: RequestProgress = field(default_factory=RequestProgress)

    def payload(self) -> dict[str, Any]:
        """Return the body of the request."""
        return apply(self.changes, _payload(self.endpoint, self.messages))


class Transport:
    """Sends requests; belongs to one event loop.

    Nothing is retried here: whoever calls decides. The deadline covers everything from name
    resolution to the last byte, so a server that drips bytes cannot hold a call; a streamed reply
    may pause for ``idle_seconds``. Proxies, certificates and headers are those of the settings and
    of ``network.py``: no other part of the environment has a say. Redirects are not followed: the
    prompt and the key are for the server that was named.
    """

    def __init__(self) -> None:
        self._clients: dict[Route, httpx2.AsyncClient] = {}

    async def complete(self, ask: Ask) -> Completion:
        """Ask once; raises CallFailed, and ConfigError for a way that cannot be taken."""
        endpoint, payload = ask.endpoint, ask.payload()
        client = self._client(route_to(endpoint))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(endpoint.timeout_seconds), asyncio.timeout(None) as idle:
                if payload.get("stream") and not ask.patient:
                    first = first_token_seconds(endpoint, ask.messages)
                    idle.reschedule(loop.time() + first)
                answer = await self._answer(client, ask, payload, idle)
        except TimeoutError as error:
            silent = idle.expired()
            why = (
                f"no sign of life for {endpoint.idle_seconds:g} s"
                if silent
                else f"no complete answer within {endpoint.timeout_seconds:g} s"
            )
            raise CallFailed(
                CallOutcome.TIMEOUT, why, retriable=True, billing=Billing.UNKNOWN
            ) from error
        except httpx2.HTTPError as error:
            raise _broken(error, ask) from error
        except CallFailed as failure:
            failure.message = redacted(failure.message, endpoint)
            raise
        # A reply is recorded, and its server knows the key.
        return replace(answer, text=without_keys(answer.text, endpoint))

    async def models(self, endpoint: Endpoint, seconds: float) -> str:
        """Return what ``GET /models`` says; empty where it says nothing in time."""
        client = self._client(route_to(endpoint))
        try:
            async with asyncio.timeout(seconds):
                response = await client.get(
                    endpoint.url_of("/models"),
                    params=endpoint.query,
                    headers=_headers(endpoint),
                )
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL):
            return ""
        text = response.text if response.status_code == 200 else ""
        return text if len(text) < MOST_CHARACTERS else ""

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def _answer(
        self,
        client: httpx2.AsyncClient,
        ask: Ask,
        payload: dict[str, Any],
        idle: asyncio.Timeout,
    ) -> Completion:
        endpoint = ask.endpoint
        try:
            request = client.build_request(
                "POST",
                endpoint.url_of("/chat/completions"),
                params=endpoint.query,
                json=payload,
                headers=_headers(endpoint),
            )
        except (httpx2.InvalidURL, ValueError, TypeError, UnicodeError) as error:
            raise ConfigError(
                f"no request can be made for {endpoint.setting('base_url')} "
                f"({redacted(str(error), endpoint)}): check it and {endpoint.setting('headers')}"
            ) from error
        ask.progress.sent = True
        response = await client.send(request, stream=True)
        try:
            if response.status_code >= 300:
                raise await _refusal(response)
            return await _read(response, ask, idle)
        finally:
            await response.aclose()

    def _client(self, route: Route) -> httpx2.AsyncClient:
        if route not in self._clients:
            try:
                self._clients[route] = httpx2.AsyncClient(
                    trust_env=False,
                    proxy=route.proxy or None,
                    verify=tls_context(route.ca_file),
                    timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
                    # A connection that the server has just given up would look like a lost reply.
                    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
                )
            except (ValueError, ImportError, httpx2.InvalidURL) as error:
                raise ConfigError(
                    f"the proxy for the model's endpoint cannot be used ({type(error).__name__}): "
                    f"check model.proxy, HTTPS_PROXY and ALL_PROXY"
                ) from error
        return self._clients[route]


def _headers(endpoint: Endpoint) -> dict[str, str]:
    headers = {"User-Agent": f"evocodec/{__version__}", "Accept": "application/json, */*;q=0.5"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    given = {name.lower() for name, _ in endpoint.headers}
    kept = {name: value for name, value in headers.items() if name.lower() not in given}
    return {**kept, **dict(endpoint.headers)}


def _payload(endpoint: Endpoint, messages: Sequence[ChatMessage]) -> dict[str, Any]:
    """Return the request as langchain-openai forms it for this model, with our own parameters."""
    model = ChatOpenAI(
        model=endpoint.model,
        base_url=endpoint.base_url,
        api_key=SecretStr("none"),
        temperature=endpoint.temperature,
        openai_proxy=None,
        use_responses_api=False,
        # It only forms the request: clients of its own would read the environment.
        client=_NO_CLIENT,
        async_client=_NO_CLIENT,
    )
    payload: dict[str, Any] = model._get_request_payload([_to_langchain(m) for m in messages])
    payload.pop("stream", None)
    if endpoint.temperature is None:
        payload.pop("temperature", None)
    name = endpoint.token_limit_name
    if name == "auto":
        name = "max_completion_tokens" if endpoint.of_openai else "max_tokens"
    if name != "none":
        payload[name] = endpoint.max_tokens
    if endpoint.stream:
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
    if endpoint.system_role == "no":
        payload["messages"] = folded(payload["messages"])
    payload |= endpoint.extra_body
    return payload


def _to_langchain(message: ChatMessage) -> BaseMessage:
    kinds: dict[str, type[BaseMessage]] = {
        "system": SystemMessage,
        "user": HumanMessage,
        "assistant": AIMessage,
    }
    return kinds[message.role](content=message.content)


async def _refusal(response: httpx2.Response) -> CallFailed:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MOST_CHARACTERS:
            break
    status = response.status_code
    failed = error_from(status, response.headers, body.decode(errors="replace"))
    if status in _GATEWAY_GAVE_UP:
        failed.billing = Billing.UNKNOWN
    if status < 400:
        host = urlsplit(response.headers.get("location", "")).netloc.rpartition("@")[2]
        failed.message = f"it redirects to {host or 'another path'}, which is not followed"
    return failed


async def _read(response: httpx2.Response, ask: Ask, idle: asyncio.Timeout) -> Completion:
    """Read an answer in the form in which it comes, whatever it says it is."""
    loop, decoder = asyncio.get_running_loop(), codecs.getincrementaldecoder("utf-8")("replace")
    streamed, text, received = StreamedAnswer(), "", 0
    events: bool | None = None
    if "text/event-stream" not in response.headers.get("content-type", ""):
        idle.reschedule(None)  # a server that answers all at once is silent until then
    async for chunk in response.aiter_bytes():
        ask.progress.life = time.monotonic()
        received += len(chunk)
        if received > MOST_CHARACTERS:
            raise malformed("it does not end", streamed.usage)
        text += decoder.decode(chunk)
        if events is None and text.strip():
            events = text.lstrip("\ufeff \t\r\n").startswith(_EVENT_FIELDS)
        if events:
            idle.reschedule(loop.time() + ask.endpoint.idle_seconds)
            *lines, text = lines_of(text)
            for line in lines:
                streamed.line(line)
            if streamed.done:
                break
    text += decoder.decode(b"", final=True)
    if not events:
        return with_cost(read_whole(text), response.headers)
    ask.progress.streamed = True
    streamed.line(text)
    return with_cost(streamed.completion(), response.headers)


def _broken(error: httpx2.HTTPError, ask: Ask) -> CallFailed:
    sent = ask.progress.sent and not isinstance(error, _NEVER_SENT)
    outcome = CallOutcome.CONNECTION
    if isinstance(error, httpx2.DecodingError):
        outcome = CallOutcome.MALFORMED
    return CallFailed(
        outcome,
        redacted(_root_cause(error), ask.endpoint),
        retriable=True,
        billing=Billing.UNKNOWN if sent else Billing.NOTHING,
    )


def _root_cause(error: BaseException) -> str:
    """Return the operating system's error below the errors of the libraries."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
