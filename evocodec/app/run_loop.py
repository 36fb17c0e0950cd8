"""The run loop: opens candidates, keeps several in flight, stops at the time or count limit."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from evocodec.domain.clock import utc_now
from evocodec.domain.errors import (
    BudgetExhausted,
    ConfigError,
    EndpointUnavailable,
    InfrastructureFailure,
    Interrupted,
    SupersededError,
)
from evocodec.domain.events import (
    CandidateClosed,
    CandidateOpened,
    kinds_of,
)
from evocodec.domain.vocabulary import RunOutcome
from graph.build import CandidateGraph
from graph.services import Services
from graph.state import CandidateState

_POLL_SECONDS = 0.2
_MAX_INFRASTRUCTURE_FAILURES = 3
_MOST_STEPS = 200  # of one candidate through the graph: far more than any loop bounds allow


@dataclass(frozen=True, slots=True)
class RunLoopOptions:
    """Limits of a run, and the number of candidates in flight."""

    seconds: float
    candidates: int  # 0: no limit
    in_flight: int
    finish_seconds: float
    """How long candidates in flight may go on after time is up; then they are left to resume."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """End of a run, with its reason as text."""

    outcome: RunOutcome
    message: str = ""


class RunLoop:
    """Drives candidates through the graph; owns the threads they run in.

    One thread per candidate in flight: it waits for a model or for tasks, and burns no CPU itself.
    """

    def __init__(
        self,
        services: Services,
        graph: CandidateGraph,
        options: RunLoopOptions,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        fruitless: Callable[[], str] = lambda: "",
    ) -> None:
        self._services = services
        self._graph = graph
        self._options = options
        self._monotonic = monotonic
        self._fruitless = fruitless
        self._failures = 0
        self._run_end: RunEnd | None = None

    def run(self) -> RunEnd:
        """Resume what is open, then open candidates until the run has to end."""
        started = self._monotonic()
        hard = started + self._options.seconds + self._options.finish_seconds
        closed, unfinished = self._recorded()
        number = len(closed) + len(unfinished)
        for baseline in range(number + 1, len(self._services.baselines) + 1):
            unfinished.append(self._open(baseline, parent_id=""))
        number = max(number, len(self._services.baselines))
        with ThreadPoolExecutor(
            max_workers=self._options.in_flight, thread_name_prefix="candidate"
        ) as pool:
            for candidate in self._baselines_first(unfinished):
                self._watch([pool.submit(self._drive, candidate)], hard)
                if self._run_end:
                    return self._run_end
            if not any(entry.full for entry in self._services.archive.entries()):
                return RunEnd(RunOutcome.FAILED, self._why_no_start())
            pending = {pool.submit(self._drive, candidate) for candidate in unfinished}
            while self._run_end is None:
                late = self._monotonic() - started > self._options.seconds
                exhausted = 0 < self._options.candidates <= number
                while not late and not exhausted and len(pending) < self._options.in_flight:
                    number += 1
                    candidate = self._open(number, parent_id=self._parent())
                    pending.add(pool.submit(self._drive, candidate))
                    exhausted = 0 < self._options.candidates <= number
                if not pending:
                    break
                pending = self._watch(list(pending), hard)
            for future in pending:
                future.cancel()
        return self._run_end or RunEnd(RunOutcome.FINISHED)

    def _baselines_first(self, unfinished: list[CandidateOpened]) -> list[CandidateOpened]:
        """Take the baselines out: nothing can be compared before they are measured."""
        count = len(self._services.baselines)
        first = [candidate for candidate in unfinished if candidate.number <= count]
        unfinished[:] = [candidate for candidate in unfinished if candidate.number > count]
        return sorted(first, key=lambda candidate: candidate.number)

    def _watch(self, futures: list[Future[None]], hard_deadline: float) -> set[Future[None]]:
        """Wait until one candidate ends; returns those still in flight."""
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                self._collect(future)
            if done and self._run_end is None and (why := self._fruitless()):
                self._end(RunOutcome.NO_PROGRESS, why)
            if self._services.stop.is_set() and self._run_end is None:
                self._end(RunOutcome.INTERRUPTED, "stopped on request")
            if pending and self._monotonic() > hard_deadline:
                left = "1 candidate" if len(pending) == 1 else f"{len(pending)} candidates"
                self._end(RunOutcome.FINISHED, f"time is up; {left} left to resume")
            if done and self._run_end is None:
                return pending
        return pending

    def _collect(self, future: Future[None]) -> None:
        try:
            future.result()
        except Interrupted:
            return
        except SupersededError:
            self._services.stop.set()
            raise
        except BudgetExhausted as error:
            # What is in flight goes on as far as the budget lets it: its calls are paid for.
            self._run_end = self._run_end or RunEnd(RunOutcome.BUDGET, str(error))
        except EndpointUnavailable as error:
            self._end(RunOutcome.ENDPOINT_GONE, str(error))
        except ConfigError as error:
            self._end(RunOutcome.FAILED, str(error))
        except InfrastructureFailure as error:
            self._failures += 1
            if self._failures >= _MAX_INFRASTRUCTURE_FAILURES:
                self._end(
                    RunOutcome.FAILED, f"the machinery failed {self._failures} times: {error}"
                )

    def _end(self, outcome: RunOutcome, message: str) -> None:
        if self._run_end is None:
            self._run_end = RunEnd(outcome, message)
        self._services.stop.set()

    def _drive(self, candidate: CandidateOpened) -> None:
        """Take one candidate through the graph; nodes find in the ledger what was done before."""
        if self._services.stop.is_set():
            raise Interrupted("the run was asked to stop")
        start: CandidateState = {
            "candidate_id": candidate.candidate_id,
            "parent_id": candidate.parent_id,
            "number": candidate.number,
            "attempt": 0,
            "revisions": 0,
            "repairs": 0,
            "outcome": "",
        }
        self._graph.invoke(start, {"recursion_limit": _MOST_STEPS})
        self._failures = 0

    def _open(self, number: int, *, parent_id: str) -> CandidateOpened:
        event = CandidateOpened(
            run_id=self._services.run_id,
            at=utc_now(),
            candidate_id=f"c{number:04d}",
            parent_id=parent_id,
            number=number,
        )
        try:
            self._services.journal.publish(event)
        except SupersededError:
            self._services.stop.set()  # or what is in flight is waited for
            raise
        return event

    def _why_no_start(self) -> str:
        seed = self._services.run_state.view().candidates[-1]
        return (
            f"the program that the run starts from has no score ({seed.reason or 'not measured'}); "
            f"see `evocodec show {seed.candidate_id}`"
        )

    def _parent(self) -> str:
        return self._services.archive.select_parent().candidate_id

    def _recorded(self) -> tuple[set[str], list[CandidateOpened]]:
        ledger, run_id = self._services.journal.ledger, self._services.run_id
        kinds = kinds_of(CandidateOpened, CandidateClosed)
        events = [event for _, event in ledger.events(run_id, kinds=kinds)]
        closed = {e.candidate_id for e in events if isinstance(e, CandidateClosed)}
        opened = [e for e in events if isinstance(e, CandidateOpened)]
        return closed, [event for event in opened if event.candidate_id not in closed]


def stop_when(stop: threading.Event, campaign_stop: threading.Event) -> threading.Thread:
    """Pass a caller's wish to stop on to a run; the thread ends with either."""

    def watch() -> None:
        while not campaign_stop.is_set():
            if stop.wait(_POLL_SECONDS):
                campaign_stop.set()

    thread = threading.Thread(target=watch, name="stop-watch", daemon=True)
    thread.start()
    return thread
