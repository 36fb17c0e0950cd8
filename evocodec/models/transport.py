"""HTTP request to an OpenAI-compatible endpoint, with a name for every kind of failure."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import openai
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from evocodec.domain.vocabulary import CallOutcome
from evocodec.keys import known_keys
from evocodec.models.contract import ChatMessage
from evocodec.models.endpoint import Endpoint
from evocodec.telemetry.redact import Redactor

_TOO_LONG = re.compile(
    r"context[_ ]length[_ ]exceeded|maximum context length|context window|prompt is too long|"
    r"exceeds? the (?:available |model'?s? )?context|too many (?:input )?tokens|"
    r"exceed the configured limit",
    re.IGNORECASE,
)
_MESSAGE_LIMIT = 300
_NAMED = {
    401: CallOutcome.AUTHENTICATION,
    403: CallOutcome.AUTHENTICATION,
    404: CallOutcome.NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply as it came; token counts are None when the server does not say."""

    text: str
    finish_reason: str
    refusal: bool
    prompt_tokens: int | None
    completion_tokens: int | None


class CallFailed(Exception):  # noqa: N818 - private to this package: the gateway translates it
    """A request without a reply.

    ``name`` is what the record says; ``retriable`` whether asking again can help; ``retry_after``
    the seconds that the server asked to wait.
    """

    def __init__(
        self, name: CallOutcome, message: str, *, retriable: bool, retry_after: float | None = None
    ) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = message[:_MESSAGE_LIMIT]
        self.retriable = retriable
        self.retry_after = retry_after


class _ChatModel(ChatOpenAI):
    """ChatOpenAI without what costs most of a call's CPU here.

    ``ainvoke`` asks callbacks that nobody has set, checks each message of the request against
    openai's types, makes objects of the answer, and takes them apart again in another thread.
    What langchain-openai knows of models stays in use: which parameters each one takes, and how
    answers are read.
    """

    async def ask(self, messages: Sequence[ChatMessage]) -> Completion:
        """Ask once; raises OpenAIError, and ValueError and its like for an answer of no form."""
        payload = self._get_request_payload([_to_langchain(message) for message in messages])
        payload |= payload.pop("extra_body", {})
        answer = await self.root_async_client.post(
            "/chat/completions", body=payload, cast_to=object
        )
        generation = self._create_chat_result(answer).generations[0]
        return _completion(generation, answer["choices"][0]["message"].get("refusal"))


class Transport:
    """Sends requests through langchain-openai; belongs to one event loop.

    Its own retries are off: whoever calls decides. The deadline covers everything from name
    resolution to the last byte, so a server that drips bytes cannot hold a call.
    """

    def __init__(self) -> None:
        self._clients: dict[bool, openai.DefaultAsyncHttpxClient] = {}
        self._models: dict[Endpoint, _ChatModel] = {}

    async def complete(self, endpoint: Endpoint, messages: Sequence[ChatMessage]) -> Completion:
        """Ask once; raises CallFailed."""
        model = self._model(endpoint)
        try:
            async with asyncio.timeout(endpoint.timeout_seconds):
                answer = await model.ask(messages)
        except (TimeoutError, openai.APITimeoutError) as error:
            raise CallFailed(
                CallOutcome.TIMEOUT,
                f"no complete answer within {endpoint.timeout_seconds:g} s",
                retriable=True,
            ) from error
        except openai.OpenAIError as error:
            raise _classify(error, endpoint) from error
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise CallFailed(
                CallOutcome.MALFORMED,
                _redacted(f"not an OpenAI chat completion: {error!r}", endpoint),
                retriable=True,
            ) from error
        # A reply is recorded, and its server knows the key.
        return replace(answer, text=_without_keys(answer.text, endpoint))

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()
        self._models.clear()

    def _model(self, endpoint: Endpoint) -> _ChatModel:
        if endpoint not in self._models:
            limit: dict[str, Any] = (
                {"max_completion_tokens": endpoint.max_tokens}
                if endpoint.of_openai
                else {"extra_body": {"max_tokens": endpoint.max_tokens}}
            )
            self._models[endpoint] = _ChatModel(
                model=endpoint.model,
                base_url=endpoint.base_url,
                api_key=SecretStr(endpoint.api_key or "none"),
                temperature=endpoint.temperature,
                max_retries=0,
                timeout=endpoint.timeout_seconds,
                streaming=False,
                use_responses_api=False,
                http_async_client=self._client(direct=endpoint.loopback),
                **limit,
            )
        return self._models[endpoint]

    def _client(self, *, direct: bool) -> openai.DefaultAsyncHttpxClient:
        if direct not in self._clients:
            self._clients[direct] = openai.DefaultAsyncHttpxClient(trust_env=not direct)
        return self._clients[direct]


def _to_langchain(message: ChatMessage) -> BaseMessage:
    kinds: dict[str, type[BaseMessage]] = {
        "system": SystemMessage,
        "user": HumanMessage,
        "assistant": AIMessage,
    }
    return kinds[message.role](content=message.content)


def _completion(generation: ChatGeneration, refusal: object) -> Completion:
    message = generation.message
    usage = getattr(message, "usage_metadata", None) or {}
    finish = str((generation.generation_info or {}).get("finish_reason") or "")
    text = str(message.text) or (refusal if isinstance(refusal, str) else "")
    return Completion(
        text=text,
        finish_reason=finish,
        refusal=bool(refusal) or finish == "content_filter",
        prompt_tokens=usage.get("input_tokens"),
        completion_tokens=usage.get("output_tokens"),
    )


def _classify(error: openai.OpenAIError, endpoint: Endpoint) -> CallFailed:
    message = _redacted(str(error), endpoint)
    if not isinstance(error, openai.APIStatusError):
        if isinstance(error, openai.APIConnectionError):
            cause = _redacted(_root_cause(error), endpoint)
            return CallFailed(CallOutcome.CONNECTION, cause, retriable=True)
        return CallFailed(CallOutcome.MALFORMED, message, retriable=True)
    name = _status_name(error.status_code, message)
    retriable = name in (CallOutcome.RATE_LIMITED, CallOutcome.SERVER_ERROR)
    return CallFailed(
        name, message, retriable=retriable, retry_after=_retry_after(error.response.headers)
    )


def _status_name(status: int, message: str) -> CallOutcome:
    if status in (400, 413, 422):
        too_long = _TOO_LONG.search(message)
        return CallOutcome.CONTEXT_OVERFLOW if too_long else CallOutcome.BAD_REQUEST
    if status == 429:
        spent = "insufficient_quota" in message
        return CallOutcome.QUOTA if spent else CallOutcome.RATE_LIMITED
    if status in (408, 409, 425) or status >= 500:
        return CallOutcome.SERVER_ERROR
    return _NAMED.get(status, CallOutcome.BAD_REQUEST)


def _root_cause(error: BaseException) -> str:
    """Return the operating system's error below the errors of the libraries."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return f"{type(error).__name__}: {error}"


def _without_keys(text: str, endpoint: Endpoint) -> str:
    return Redactor.of_secrets((endpoint.api_key, *known_keys()))(text)


def _redacted(message: str, endpoint: Endpoint) -> str:
    """A server may echo the key in its error; it must not reach a log."""
    return Redactor((endpoint.api_key, *known_keys()))(message)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds or an HTTP date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
