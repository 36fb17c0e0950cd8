"""One run from its plan to its end, with its log, its metrics and its listeners."""

import threading
from collections.abc import Callable, Iterable, Sequence

from evocodec.app.run_plan import RunPlan
from evocodec.app.run_watch import RunWatch, redactor, served
from evocodec.app.runner import Runner, RunStores
from evocodec.domain.events import Event
from evocodec.telemetry.log import log_event, run_log


def consume(events: Iterable[Event]) -> None:
    """Take events, or those that are left, and do nothing with them."""
    for _ in events:
        pass


def perform(
    plan: RunPlan,
    stores: RunStores,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event,
    *,
    replay: Callable[[Iterable[Event]], None] = consume,
) -> None:
    """Perform the run until it ends; see ``Laboratory.run`` for what is raised.

    What a resumed run did before is read from the ledger once, for the search, the metrics and
    ``replay`` alike; metrics are served when they have it.
    """
    log = plan.workspace.run(plan.run_id) / "log.jsonl"
    with run_log(log, plan.run_id, redact=redactor(plan.settings)):
        watch = RunWatch()
        timed = RunStores(
            watch.ledger(stores.ledger),
            watch.blobs(stores.blobs),
            watch.records(stores.records),
            stores.champions,
        )
        runner = Runner(plan, timed, (watch.observe, log_event, *listeners), stop, watch)
        past = runner.recall()
        replay(past)
        consume(past)
        with served(plan.settings, watch, plan.run_id, stop):
            runner.run()
