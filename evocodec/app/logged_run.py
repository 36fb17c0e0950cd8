"""One run from its plan to its end, with its log, its metrics and its listeners."""

import threading
from collections.abc import Callable, Sequence

from evocodec.app.run_plan import RunPlan
from evocodec.app.run_watch import redactor, watched
from evocodec.app.runner import Runner, RunStores
from evocodec.domain.events import Event
from evocodec.telemetry.log import log_event, run_log


def perform(
    plan: RunPlan,
    stores: RunStores,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event,
) -> None:
    """Perform the run until it ends; see ``Laboratory.run`` for what is raised."""
    log = plan.workspace.run(plan.run_id) / "log.jsonl"
    with (
        run_log(log, plan.run_id, redact=redactor(plan.settings)),
        watched(plan.settings, stores.ledger, plan.run_id, stop) as watch,
    ):
        timed = RunStores(
            watch.ledger(stores.ledger),
            watch.blobs(stores.blobs),
            watch.records(stores.records),
            stores.champions,
        )
        Runner(plan, timed, (watch.observe, log_event, *listeners), stop, watch).run()
