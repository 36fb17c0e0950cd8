"""Pause of Python's cycle collector while a whole run is read."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python from looking for cycles while hundreds of thousands of objects are made.

    A fold keeps most of what it makes and makes no cycles, so each search goes through everything
    again and finds nothing: a third of the time that a long run takes to read. The collector is
    one for the process; if it is off already it stays off, so that pauses may overlap.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
