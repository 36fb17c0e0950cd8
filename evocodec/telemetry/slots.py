"""A semaphore that counts its waiting threads."""

import threading
from types import TracebackType


class WatchedSlots(threading.Semaphore):
    """Evaluation slots of a run; ``waiting`` may be read by any thread."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self._count = threading.Lock()  # two threads that begin to wait at once are two
        self.waiting = 0

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a slot, as every semaphore does."""
        with self._count:
            self.waiting += 1
        try:
            return super().acquire(blocking, timeout)
        finally:
            with self._count:
                self.waiting -= 1

    __enter__ = acquire

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
