"""Check of the model endpoints: asked once before a run, and by the doctor."""

import threading
from collections.abc import Sequence

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import BudgetExhausted, EndpointUnavailable, Interrupted
from evocodec.domain.events import Event
from evocodec.models.gateway import ModelGateway
from evocodec.models.knowledge import Knowledge
from evocodec.models.preflight import EndpointReport, preflight, require_room
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.store.memory import MemoryBlobStore, MemoryLedger


def ask_endpoints(
    settings: ModelSettings,
    knowledge: Knowledge,
    *,
    run_id: str,
    ledger: Ledger,
    blobs: BlobStore,
    stop: threading.Event,
    attempt: int,
    programs: Sequence[str],
) -> list[Event]:
    """Ask each endpoint of a run once, unless the settings say no.

    Returns the events of it, which the run records once it has begun. Raises ConfigError for an
    endpoint that cannot be used, EndpointUnavailable for one that does not answer.
    """
    events: list[Event] = []
    if not settings.preflight:
        return events
    over = threading.Event()  # the gateway's own: closing it must not stop the run

    def gateway(asked: ModelSettings) -> ModelGateway:
        return ModelGateway(
            asked,
            run_id=run_id,
            ledger=ledger,
            blobs=blobs,
            record=events.append,
            stop=over,
            interrupted=Interrupted,
            knowledge=knowledge,
        )

    passing = threading.Thread(target=_pass_on, args=(stop, over), name="preflight", daemon=True)
    passing.start()
    try:
        require_room(preflight(settings, gateway, attempt), programs)
    except EndpointUnavailable as error:
        if attempt or isinstance(error, BudgetExhausted):
            raise
        # There is no run yet that could be resumed.
        text = str(error).replace("then resume the run", "then run it again")
        raise EndpointUnavailable(text) from error
    finally:
        over.set()
        passing.join()
    return events


def endpoints_now(settings: ModelSettings) -> tuple[EndpointReport, ...]:
    """Ask each endpoint once, without patience and without a record; raises as a run would."""
    once = settings.model_copy(update={"max_retries": 0, "budget_usd": 0.0, "budget_tokens": 0})

    def gateway(asked: ModelSettings) -> ModelGateway:
        return ModelGateway(
            asked,
            run_id="doctor",
            ledger=MemoryLedger(),
            blobs=MemoryBlobStore(),
            record=lambda _event: True,
        )

    return preflight(once, gateway, 0)


def _pass_on(stop: threading.Event, over: threading.Event) -> None:
    while not over.wait(0.1):
        if stop.is_set():
            over.set()
