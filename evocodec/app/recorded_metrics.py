"""Metrics of a recorded run, computed from its ledger."""

import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from evocodec.domain.results import Metric, RdCurve
from evocodec.store.ledger import Ledger
from evocodec.telemetry.metrics import RunMetrics
from evocodec.views.bulk import collector_paused


def bd_rate_percent(anchor: RdCurve, test: RdCurve) -> float | None:
    """BD-rate at equal PSNR-Y, as reports have it; None where they have none."""
    from evocodec.curves.compare import compare_curves  # arrays, which few runs' metrics need

    (found,) = compare_curves(anchor, test, (Metric.PSNR_Y,))
    return found.bd_rate.akima_percent if found.bd_rate else None


class RecordedMetrics:
    """A run's metrics as its events tell them; slots, queues and stores are in no event.

    Any thread may call; new events of a run that is still running are added by ``refresh``.
    ``is_gone`` says whether its controller is gone without having recorded a stop.
    """

    def __init__(
        self, ledger: Ledger, run_id: str, *, is_gone: Callable[[], bool] = lambda: False
    ) -> None:
        self.run_id = run_id
        self._is_gone = is_gone
        self._ledger = ledger
        self._metrics = RunMetrics(bd_rate_percent)
        # Scrapes may overlap, and an event counts once.
        self._lock = threading.Lock()
        self._after = 0
        self.refresh()

    @property
    def registry(self) -> CollectorRegistry:
        """Registry with the metrics to serve."""
        return self._metrics.registry

    def refresh(self) -> None:
        """Count what was recorded since the last time; raises as ``Ledger.events``."""
        with self._lock, collector_paused():
            gone = self._is_gone()
            for position, event in self._ledger.events(self.run_id, after=self._after):
                self._metrics.observe(event)
                self._after = position
            if gone:
                self._metrics.note_gone()

    def exposition(self) -> bytes:
        """All metrics as of the last refresh, in the Prometheus text format."""
        return self._metrics.exposition()
