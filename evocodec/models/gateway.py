"""The gateway to language models: bounded retries, real deadlines, a hard budget, a full record."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
)

from evocodec.config_sections import ModelSettings
from evocodec.domain.candidate import Origin
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import (
    CandidateFailure,
    ConfigError,
    EndpointUnavailable,
    EvocodecError,
    FailureKind,
)
from evocodec.domain.events import Event
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.models.budget import Budget
from evocodec.models.contract import ChatMessage, Reply
from evocodec.models.endpoint import Endpoint, endpoint_for
from evocodec.models.recorder import CallFacts, CallName, CallRecorder, spent_in
from evocodec.models.transport import CallFailed, Completion, Transport
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger

T = TypeVar("T")
_Gate: TypeAlias = AbstractAsyncContextManager[object]

_CHARACTERS_PER_TOKEN = 3.0  # on the safe side for code; used where the server gives no count
_LONGEST_BACKOFF_SECONDS = 30.0


class ModelGateway:
    """A ChatGateway to real endpoints.

    Owns one thread that runs an event loop; requests of all threads share it and its connections.
    ``stop``, once set, cancels calls under way: they raise ``interrupted``.
    """

    origin = Origin.MODEL

    def __init__(
        self,
        settings: ModelSettings,
        *,
        run_id: str,
        ledger: Ledger,
        blobs: BlobStore,
        record: Callable[[Event], object],
        now: Callable[[], str] = utc_now,
        stop: threading.Event | None = None,
        interrupted: Callable[[str], EvocodecError] = EndpointUnavailable,
    ) -> None:
        self._settings = settings
        self._recorder = CallRecorder(run_id, ledger, blobs, record, now)
        tokens, cost_usd = spent_in(ledger, run_id)
        self._budget = Budget(settings, tokens=tokens, cost_usd=cost_usd)
        self._stop = stop or threading.Event()
        self._interrupted = interrupted
        self._loop = _LoopThread()
        # One thread waits for the stop, instead of every call looking out for it.
        self._watch = threading.Thread(target=self._cancel_at_stop, name="model-stop", daemon=True)
        self._watch.start()
        self._transport = Transport()
        # Without a bound no candidate in flight waits for another one's call.
        self._gate: _Gate = (
            asyncio.Semaphore(settings.max_concurrent) if settings.max_concurrent else nullcontext()
        )

    def chat(
        self,
        role: ModelRole,
        messages: Sequence[ChatMessage],
        *,
        candidate_id: str,
        attempt: int,
        template_sha256: str,
        classify: Callable[[str], CallOutcome] | None = None,
    ) -> Reply:
        """See ChatGateway."""
        name = CallName(candidate_id, role, attempt)
        known = self._recorder.find(name)
        if known is not None:
            return known
        endpoint = endpoint_for(self._settings, role)
        prompt_tokens = _estimate(messages)
        with self._budget.promise(endpoint, prompt_tokens):
            call = _Call(endpoint, messages, self._settings)
            try:
                completion = self._wait(call.run(self._transport, self._gate))
            except CallFailed as failure:
                facts = self._facts(call, failure.name, call.timeouts * prompt_tokens, 0)
                self._keep(name, facts, messages, template_sha256, None)
                raise _translate(failure, endpoint, call) from failure
            outcome = _outcome(completion, classify)
            facts = self._facts(
                call,
                outcome,
                _count(completion.prompt_tokens, prompt_tokens) + call.timeouts * prompt_tokens,
                _count(completion.completion_tokens, _tokens(completion.text)),
            )
            self._keep(name, facts, messages, template_sha256, completion.text)
        return Reply(completion.text, outcome, endpoint.model)

    def close(self) -> None:
        """Cancel running calls and end the thread. Closing twice is allowed."""
        self._stop.set()
        self._watch.join(timeout=10)
        self._loop.close(self._transport.close)

    def _cancel_at_stop(self) -> None:
        self._stop.wait()
        self._loop.cancel_all()

    def _facts(
        self, call: "_Call", outcome: CallOutcome, prompt_tokens: int, completion_tokens: int
    ) -> CallFacts:
        return CallFacts(
            model=call.endpoint.model,
            outcome=outcome,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=call.endpoint.cost_usd(prompt_tokens, completion_tokens),
            wall_seconds=call.wall_seconds,
            tries=call.tries,
        )

    def _keep(
        self,
        name: CallName,
        facts: CallFacts,
        messages: Sequence[ChatMessage],
        template_sha256: str,
        reply: str | None,
    ) -> None:
        self._budget.spend(facts.prompt_tokens + facts.completion_tokens, facts.cost_usd)
        self._recorder.keep(
            name, facts, messages=messages, template_sha256=template_sha256, reply=reply
        )

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._loop.submit(work)
        try:
            if self._stop.is_set():  # set before the watch could see this call
                raise self._interrupted("the run was asked to stop")
            return future.result()
        except CancelledError:
            raise self._interrupted("the run was asked to stop") from None
        finally:
            future.cancel()


class _Call:
    """One call with its retries, and what it took so far."""

    def __init__(
        self, endpoint: Endpoint, messages: Sequence[ChatMessage], settings: ModelSettings
    ) -> None:
        self.endpoint = endpoint
        self.tries = 0
        self.timeouts = 0
        self._messages = messages
        self._settings = settings
        self._started = time.monotonic()

    @property
    def wall_seconds(self) -> float:
        return time.monotonic() - self._started

    async def run(self, transport: Transport, gate: _Gate) -> Completion:
        """Ask until there is a reply, or until asking again makes no sense."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, CallFailed) and error.retriable
            ),
            wait=self._pause,
            stop=stop_after_attempt(1 + self._settings.max_retries)
            | stop_before_delay(self._settings.gone_after_seconds),
            reraise=True,
        )
        return await retrying(self._try, transport, gate)

    async def _try(self, transport: Transport, gate: _Gate) -> Completion:
        self.tries += 1
        try:
            async with gate:
                return await transport.complete(self.endpoint, self._messages)
        except CallFailed as failure:
            self.timeouts += failure.name is CallOutcome.TIMEOUT
            raise

    def _pause(self, state: RetryCallState) -> float:
        """Seconds before the next try: growing, scattered, and never less than the server asks."""
        grown = self._settings.backoff_seconds * 2.0 ** (state.attempt_number - 1)
        pause = min(grown, _LONGEST_BACKOFF_SECONDS) * random.uniform(0.5, 1.0)
        failure = state.outcome and state.outcome.exception()
        if isinstance(failure, CallFailed) and failure.retry_after is not None:
            return max(pause, failure.retry_after)
        return pause


def _estimate(messages: Sequence[ChatMessage]) -> int:
    return sum(_tokens(message.content) + 8 for message in messages)


def _tokens(text: str) -> int:
    return int(len(text) / _CHARACTERS_PER_TOKEN) + 1


def _count(said: int | None, estimated: int) -> int:
    return said if said is not None and said >= 0 else estimated


def _outcome(completion: Completion, classify: Callable[[str], CallOutcome] | None) -> CallOutcome:
    if completion.refusal:
        return CallOutcome.REFUSED
    if not completion.text.strip():
        cut_off = completion.finish_reason == "length"
        return CallOutcome.TRUNCATED if cut_off else CallOutcome.EMPTY
    outcome = classify(completion.text) if classify else CallOutcome.OK
    if outcome is CallOutcome.UNPARSABLE and completion.finish_reason == "length":
        return CallOutcome.TRUNCATED
    return outcome


def _translate(failure: CallFailed, endpoint: Endpoint, call: _Call) -> EvocodecError:
    """Return the error that says what to do."""
    where, said = endpoint.base_url, failure.message
    match failure.name:
        case CallOutcome.CONTEXT_OVERFLOW:
            return CandidateFailure(
                FailureKind.NO_CODE,
                f"The prompt does not fit into the context of {endpoint.model}; use a model with a "
                f"longer context or start from a shorter program.",
                detail=said,
            )
        case CallOutcome.AUTHENTICATION:
            return ConfigError(
                f"{where} refused the key ({said}): set {endpoint.setting('api_key')} "
                f"({endpoint.variable('api_key')}) to one that may use {endpoint.model}"
            )
        case CallOutcome.NOT_FOUND:
            return ConfigError(
                f"{where} does not know model {endpoint.model!r} or has no /chat/completions "
                f"({said}): check {endpoint.setting('model')} and {endpoint.setting('base_url')} "
                f"(it usually ends in /v1)"
            )
        case CallOutcome.BAD_REQUEST:
            return ConfigError(
                f"{where} rejected the request ({said}): check {endpoint.setting('model')}, "
                f"{endpoint.setting('temperature')} and {endpoint.setting('max_tokens')}"
            )
        case _:
            tries = f"{call.tries} {'try' if call.tries == 1 else 'tries'}"
            return EndpointUnavailable(
                f"the model endpoint {where} gave no usable answer in {tries} over "
                f"{call.wall_seconds:.1f} s; the last ended with {failure.name}: {said}. See that "
                f"it runs and is reachable ({endpoint.setting('base_url')}), then resume the run"
            )


class _LoopThread:
    """A thread that runs an event loop: what cancels a request there really closes it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="model-gateway", daemon=True
        )
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine there; returns a concurrent future."""
        if self._loop.is_closed():
            work.close()
            raise EndpointUnavailable("the model gateway is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def cancel_all(self) -> None:
        """Cancel every coroutine that runs there now; whoever waits for one is told."""

        def cancel() -> None:
            for task in asyncio.all_tasks():
                task.cancel()

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(cancel)

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel every task, run one last coroutine, and end the thread."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._finish(last), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _finish(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await last()
        await self._loop.shutdown_default_executor()
