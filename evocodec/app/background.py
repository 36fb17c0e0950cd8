"""A function call that runs in a thread of its own."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class InBackground(Generic[T]):
    """Runs a call in a thread; its value or its error is kept for the caller."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="background")
        self._thread.start()

    def _work(self) -> None:
        try:
            self._values.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._error = error

    def wait(self) -> None:
        """Wait until the call is over, with or without an error."""
        self._thread.join()

    def result(self) -> T:
        """The value, or the call's error raised here."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._values[0]
