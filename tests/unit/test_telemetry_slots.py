import threading
import time

from evocodec.telemetry.slots import WatchedSlots


def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never became true")


def test_who_waits_for_a_slot_is_counted_until_it_has_one() -> None:
    slots = WatchedSlots(1)
    with slots:
        assert slots.waiting == 0
        waiters = [threading.Thread(target=slots.acquire) for _ in range(3)]
        for waiter in waiters:
            waiter.start()
        until(lambda: slots.waiting == 3)
    until(lambda: slots.waiting == 2)
    slots.release(2)
    for waiter in waiters:
        waiter.join()
    assert slots.waiting == 0


def test_who_gives_up_waits_no_more() -> None:
    slots = WatchedSlots(0)
    assert not slots.acquire(timeout=0.01)
    assert not slots.acquire(blocking=False)
    assert slots.waiting == 0
