"""Run monitoring: metrics of a run, the server that serves them, and its log."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from evocodec.app.recorded_metrics import bd_rate_percent
from evocodec.config import Settings
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.events import Event
from evocodec.execution.engine import Engine
from evocodec.keys import known_keys
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.store.records import RecordStore
from evocodec.store.timed import TimedBlobs, TimedLedger, TimedRecords
from evocodec.telemetry.metrics import RunMetrics
from evocodec.telemetry.redact import Redactor
from evocodec.telemetry.server import MetricsServer
from evocodec.telemetry.slots import WatchedSlots
from evocodec.telemetry.stores import LogCounter, StoreMetrics
from evocodec.telemetry.structured import collected_log

_logger = logging.getLogger(__name__)
_SLOTS_SECONDS = 5.0


class RunWatch:
    """Metrics of one run, and what its parts are wrapped in so that they can be counted."""

    def __init__(self) -> None:
        self.metrics = RunMetrics(bd_rate_percent)
        self._stores = StoreMetrics(self.metrics.registry)
        self._slots = WatchedSlots(1)

    def observe(self, event: Event) -> None:
        """Count one event; subscribe it to the bus."""
        self.metrics.observe(event)

    def ledger(self, ledger: Ledger) -> Ledger:
        """Return the same ledger, timed."""
        return TimedLedger(ledger, self._stores)

    def blobs(self, blobs: BlobStore) -> BlobStore:
        """Return the same blobs, timed."""
        return TimedBlobs(blobs, self._stores)

    def records(self, records: RecordStore) -> RecordStore:
        """Return the same records, timed."""
        return TimedRecords(records, self._stores)

    def slots(self, count: int) -> threading.Semaphore:
        """Return evaluation slots that say how many programs wait for one."""
        self._slots = WatchedSlots(count)
        return self._slots

    def evaluation_given_up(self, candidate_id: str, failure: InfrastructureFailure) -> None:
        """Count and log an evaluation that the engine gave up on."""
        self.metrics.infrastructure_failed()
        _logger.warning(
            "%s stays open: %s", candidate_id, failure, extra={"candidate_id": candidate_id}
        )

    @contextmanager
    def engine(self, engine: Engine) -> Iterator[None]:
        """Show an engine's slots and queue while the context lasts; it must end before the engine.

        A scrape never waits for the cluster: the number of slots is read in a thread.
        """
        total, over = [engine.slots()], threading.Event()

        def sample() -> None:
            while not over.wait(_SLOTS_SECONDS):
                try:
                    total[0] = engine.slots()
                except Exception:  # the edge of a thread: the figure stays as it was
                    _logger.warning("cannot ask the cluster for its slots", exc_info=True)

        sampler = threading.Thread(target=sample, name="slots", daemon=True)
        self.metrics.watch_slots(
            engine.busy,
            lambda: total[0],
            tasks_waiting=engine.waiting,
            proposals_waiting=lambda: self._slots.waiting,
        )
        sampler.start()
        try:
            yield
        finally:
            self.metrics.leave_slots()
            over.set()
            sampler.join(_SLOTS_SECONDS)


@contextmanager
def served(
    settings: Settings, watch: RunWatch, run_id: str, stop: threading.Event
) -> Iterator[None]:
    """Serve a run's metrics and collect its log while the context lasts.

    The watch has counted what the run did before: a figure that begins at zero is an increase.
    A Prometheus that follows the run is given the time to see how it ended, until ``stop``.

    Raises UserError when metrics are to be served on an address that cannot be had.
    """
    with ExitStack() as closing:
        telemetry = settings.telemetry
        if telemetry.log_to:
            closing.enter_context(
                collected_log(
                    telemetry.log_to,
                    run_id,
                    form=telemetry.log_format,
                    level=telemetry.log_level,
                    redact=redactor(settings),
                )
            )
        counter, logger = LogCounter(watch.metrics.registry), logging.getLogger("evocodec")
        logger.addHandler(counter)
        closing.callback(logger.removeHandler, counter)
        if telemetry.metrics_port:
            server = MetricsServer(
                watch.metrics.registry, host=telemetry.metrics_bind, port=telemetry.metrics_port
            )
            closing.enter_context(server)
            closing.callback(server.await_last_scrape, stop.is_set)
            _logger.info("metrics are served on %s", server.url)
        yield


def redactor(settings: Settings) -> Redactor:
    """Hides the secrets that this process was given, in everything that is logged."""
    return Redactor((*settings.secrets(), *known_keys()))
