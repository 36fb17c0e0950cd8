"""The gateway to language models: bounded retries, real deadlines, a hard budget, a full record."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar

from evocodec.config_sections import ModelSettings
from evocodec.domain.candidate import Origin
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import EndpointUnavailable, EvocodecError
from evocodec.domain.events import Event
from evocodec.domain.vocabulary import CallOutcome, ModelRole, NoteSubject
from evocodec.models.advice import error_for
from evocodec.models.answers import Completion
from evocodec.models.budget import Budget
from evocodec.models.call import Call, Cancelled
from evocodec.models.contract import ChatMessage, Reply
from evocodec.models.endpoint import Endpoint, endpoint_for
from evocodec.models.failure import CallFailed
from evocodec.models.knowledge import Knowledge
from evocodec.models.recorder import CallFacts, CallName, CallRecorder, spent_in
from evocodec.models.transport import Transport
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger

T = TypeVar("T")
_Gate: TypeAlias = AbstractAsyncContextManager[object]

_SHOWN_SECONDS = 2.0  # a shorter pause is over before anybody reads about it


class ModelGateway:
    """A ChatGateway to real endpoints.

    Owns one thread that runs an event loop; requests of all threads share it and its connections.
    ``stop``, once set, cancels calls under way: they are booked and raise ``interrupted``.
    ``knowledge`` is what a preflight learnt about the endpoints.
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
        knowledge: Knowledge | None = None,
    ) -> None:
        self._settings = settings
        self._recorder = CallRecorder(run_id, ledger, blobs, record, now)
        tokens, cost_usd = spent_in(ledger, run_id)
        self._budget = Budget(settings, tokens=tokens, cost_usd=cost_usd)
        self._stop = stop or threading.Event()
        self._interrupted = interrupted
        self.knowledge = knowledge or Knowledge()
        self.knowledge.tell = self._tell
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

        def waiting(seconds: float, why: str) -> None:
            if seconds >= _SHOWN_SECONDS or not seconds:
                self._recorder.note(name, NoteSubject.WAITING, why, seconds)

        call = Call(
            endpoint,
            messages,
            self._settings,
            self._budget,
            self.knowledge,
            self._transport,
            self,
            waiting,
        )

        def keep(outcome: CallOutcome, reply: str | None) -> None:
            self._recorder.keep(
                name,
                _facts(call, outcome),
                messages=messages,
                template_sha256=template_sha256,
                reply=reply,
            )

        try:
            completion = call.run()
        except CallFailed as failure:
            keep(failure.name, None)
            if self._stop.is_set():
                raise self._interrupted("the run was asked to stop") from failure
            raise error_for(
                failure, endpoint, tries=call.tries, seconds=call.wall_seconds
            ) from failure
        except Cancelled:
            if call.booked.prompt_tokens:  # something was sent
                keep(CallOutcome.CANCELLED, None)
            raise self._interrupted("the run was asked to stop") from None
        except EvocodecError:
            if call.booked.prompt_tokens:  # earlier tries were paid for
                keep(CallOutcome.CANCELLED, None)
            raise
        outcome = _outcome(completion, classify)
        keep(outcome, completion.text)
        return Reply(completion.text, outcome, endpoint.model)

    def list_models(self, endpoint: Endpoint, seconds: float) -> str:
        """Return what ``GET /models`` of an endpoint says; empty where it says nothing in time."""
        future = self._loop.submit(self._transport.models(endpoint, seconds))
        try:
            return future.result()
        except CancelledError:
            raise self._interrupted("the run was asked to stop") from None

    def tell_found(self, endpoint: Endpoint, text: str) -> None:
        """Record what a preflight found out about an endpoint."""
        self._recorder.note(CallName("", endpoint.role, 0), NoteSubject.ENDPOINT, text, 0.0)

    def close(self) -> None:
        """Cancel running calls and end the thread. Closing twice is allowed."""
        self._stop.set()
        self._watch.join(timeout=10)
        self._loop.close(self._transport.close)

    def perform(self, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        """See Surroundings."""
        future = self._loop.submit(self._gated(ask))
        try:
            if self._stop.is_set():  # set before the watch could see this call
                raise Cancelled
            return future.result()
        except CancelledError:
            raise Cancelled from None
        finally:
            future.cancel()

    def pause(self, seconds: float) -> None:
        """See Surroundings."""
        if self._stop.wait(seconds):
            raise Cancelled

    def stopped(self) -> bool:
        """See Surroundings."""
        return self._stop.is_set()

    async def _gated(self, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        async with self._gate:
            return await ask()

    def _tell(self, endpoint: Endpoint, text: str) -> None:
        """Record what changes how a server is asked; it belongs to no candidate."""
        name = CallName("", endpoint.role, 0)
        self._recorder.note(name, NoteSubject.LEARNT, text, 0.0)

    def _cancel_at_stop(self) -> None:
        self._stop.wait()
        self._loop.cancel_all()


def _facts(call: Call, outcome: CallOutcome) -> CallFacts:
    return CallFacts(
        model=call.endpoint.model,
        outcome=outcome,
        prompt_tokens=call.booked.prompt_tokens,
        completion_tokens=call.booked.completion_tokens,
        cost_usd=call.booked.cost_usd,
        wall_seconds=call.wall_seconds,
        tries=call.tries,
    )


def _outcome(completion: Completion, classify: Callable[[str], CallOutcome] | None) -> CallOutcome:
    if completion.refusal:
        return CallOutcome.REFUSED
    if not completion.text.strip():
        cut_off = completion.finish_reason == "length"
        return CallOutcome.TRUNCATED if cut_off else CallOutcome.EMPTY
    if completion.finish_reason == "length":
        # Whole as it may look: it can be a draft in reasoning that was cut off before its end.
        return CallOutcome.TRUNCATED
    return classify(completion.text) if classify else CallOutcome.OK


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
        """Cancel every coroutine that runs there now; their callers get an error."""

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
