"""The event bus: passes every event to all listeners, in order, and survives their errors."""

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from evocodec.domain.events import Event

Subscriber: TypeAlias = Callable[[Event], None]

_logger = logging.getLogger(__name__)


class EventBus:
    """Delivers events one at a time, in the order of ``publish``, in the publisher's thread.

    Any thread may publish. Subscribers are called under the bus's lock, so they must be quick and
    must not publish themselves. One that raises is logged and dropped: watching never stops a run.
    """

    def __init__(self) -> None:
        # Threads of several candidates publish at once; without the lock two subscribers could see
        # two events in different orders.
        self._lock = threading.Lock()
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Deliver every later event to ``subscriber``; the returned function ends that."""
        with self._lock:
            self._subscribers.append(subscriber)
        return lambda: self._remove(subscriber)

    def publish(self, event: Event) -> None:
        """Deliver one event to all subscribers."""
        with self._lock:
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber(event)
                except Exception:
                    _logger.exception("%r failed on %s and is dropped", subscriber, event.kind)
                    self._subscribers.remove(subscriber)

    def _remove(self, subscriber: Subscriber) -> None:
        with self._lock:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
