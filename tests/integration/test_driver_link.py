"""The controller's end of the pipe to a driver, with a real process at the other end."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from evocodec.execution.workers import driver_client as driver_link
from evocodec.execution.workers.driver_client import DriverClient, LinkLostError
from evocodec.execution.workers.driver_messages import Put
from tests.support.sandbox_jobs import until

BIGGER_THAN_A_PIPE = bytes(8 << 20)


class SlowToPickle:
    """Calls back in the middle of being sent, as a clip of many frames takes its time."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def __reduce__(self) -> tuple[type[int], tuple[()]]:
        self._meanwhile()
        return int, ()


@pytest.fixture
def link() -> Iterator[DriverClient]:
    link = DriverClient(lambda: None)
    yield link
    link.end("the test is over")


def wait_until_lost(link: DriverClient) -> None:
    until = time.monotonic() + 10
    while not link.lost and time.monotonic() < until:
        time.sleep(0.01)


def test_a_link_that_ends_while_something_is_sent_is_lost_and_nothing_else(
    link: DriverClient,
) -> None:
    sending = threading.Event()

    def meanwhile() -> None:
        sending.set()
        wait_until_lost(link)
        # That nobody closes what is about to be used is shown by time alone: half a second is a
        # thousand times what a close takes.
        time.sleep(0.5)

    with ThreadPoolExecutor(1) as other:
        told = other.submit(link.send, Put(1, SlowToPickle(meanwhile)))
        assert sending.wait(10)
        link.end("its head has not answered")
        with pytest.raises(LinkLostError, match="its head has not answered"):
            told.result(10)
    with pytest.raises(LinkLostError, match="its head has not answered"):
        link.send(Put(2, 0))


def test_a_driver_that_takes_nothing_in_is_ended_all_the_same(
    link: DriverClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_link, "_END_SECONDS", 0.5)
    os.kill(link._process.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as others:
        told = others.submit(link.send, Put(1, BIGGER_THAN_A_PIPE))
        pipe = link._connection.fileno()
        until(lambda: not select.select([], [pipe], [], 0)[1])  # it is full, and the sender waits
        ended = others.submit(link.end, "the engine is closed", graceful=True)
        try:
            ended.result(10)
            with pytest.raises(LinkLostError):
                told.result(10)
        finally:
            link._process.kill()  # or the threads are waited for in vain
