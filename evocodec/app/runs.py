"""Runs from their plan to their end: a new one, a resumed one, a submission."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from evocodec.app.controller_lock import controlled
from evocodec.app.laboratory import Laboratory
from evocodec.app.run_plan import RunPlan, new_plan, resumed_plan
from evocodec.app.run_watch import RunWatch, redactor, served
from evocodec.app.runner import Runner, RunStores
from evocodec.domain.beginning import SubmittedProgram
from evocodec.domain.events import Event
from evocodec.telemetry.log import log_event, run_log
from evocodec.views.run import RunView


def consume(events: Iterable[Event]) -> None:
    """Take events, or those that are left, and do nothing with them."""
    for _ in events:
        pass


def perform_run(
    lab: Laboratory,
    *,
    resume: str | None = None,
    listeners: Sequence[Callable[[Event], None]] = (),
    stop: threading.Event | None = None,
    replay: Callable[[Iterable[Event]], None] = consume,
) -> RunView:
    """Start a run, or resume one (by id, or ``latest``), and return when it ends.

    One run at a time. ``replay`` is given what a resumed run did before it goes on, once.

    Raises:
        UserError: there is nothing to resume, a clip cannot be read, or the sandbox is below
            its floor.
        InfrastructureFailure: the engine does not start.
    """
    if resume is None:
        return _perform(lab, _new_plan(lab), listeners, stop)
    run_id = lab.resolver.run_id(resume)
    plan = resumed_plan(run_id, lab.settings, lab.workspace, lab.ledger)
    return _perform(lab, plan, listeners, stop, replay)


def perform_submission(
    lab: Laboratory,
    ref: str,
    note: str,
    *,
    listeners: Sequence[Callable[[Event], None]] = (),
    stop: threading.Event | None = None,
) -> RunView:
    """Send a program from outside down the same path as any other, in a run of its own.

    It is reviewed, screened and measured against the current version, and adopted by the same
    rules. Raises as ``perform_run`` does.
    """
    _, program = lab.resolver.program(ref)
    submitted = SubmittedProgram(lab.blobs.put(program.data), note)
    return _perform(lab, replace(_new_plan(lab), submission=submitted), listeners, stop)


def _new_plan(lab: Laboratory) -> RunPlan:
    return new_plan(lab.settings, lab.workspace, lab.ledger, lab.blobs, lab.champions)


def _perform(
    lab: Laboratory,
    plan: RunPlan,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event | None,
    replay: Callable[[Iterable[Event]], None] = consume,
) -> RunView:
    """Perform the run until it ends, with its log, its metrics and its listeners.

    What a resumed run did before is read from the ledger once, for the search, the metrics and
    ``replay`` alike; metrics are served when they have it.
    """
    stop = stop or threading.Event()
    log = plan.workspace.run(plan.run_id) / "log.jsonl"
    with (
        controlled(plan.workspace.run(plan.run_id)),
        run_log(log, plan.run_id, redact=redactor(plan.settings)),
    ):
        watch = RunWatch()
        timed = RunStores(
            watch.ledger(lab.ledger),
            watch.blobs(lab.blobs),
            watch.records(lab.records),
            lab.champions,
        )
        runner = Runner(plan, timed, (watch.observe, log_event, *listeners), stop, watch)
        past = runner.recall()
        replay(past)
        consume(past)
        with served(plan.settings, watch, plan.run_id, stop):
            runner.run()
    return lab.resolver.view(plan.run_id)
