"""What waits for a slot and what runs, as the controller counts it."""

import threading
import time
from collections.abc import Sequence

import pytest

from evocodec.domain.errors import Interrupted
from evocodec.domain.results import Stage
from evocodec.execution.dispatch import Dispatch, Submitter
from evocodec.execution.engine import tasks_ahead
from evocodec.execution.jobs import RateJob
from evocodec.execution.messages import TaskStarted
from evocodec.execution.task_queue import TaskQueue
from evocodec.execution.worker_contract import Step
from tests.support.default_options import default_engine_options


class OneSlot:
    """Workers with one slot that is never given back: its task begins, and goes on for ever."""

    def __init__(self) -> None:
        self.first: object = None
        self.told = False

    def put(self, value: object) -> object:
        return value

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> object:
        task = object()
        self.first = self.first or task
        return task

    def ready(self, streams: Sequence[object], seconds: float) -> Sequence[object]:
        if self.first in streams and not self.told:
            return [self.first]
        time.sleep(0.01)
        return []

    def take(self, stream: object) -> TaskStarted:
        self.told = True
        return TaskStarted(pid=1, node="here")

    def take_reference(self, stream: object) -> object:
        raise StopIteration

    def cancel(self, stream: object, *, force: bool) -> None:
        pass


def test_a_task_waits_until_it_begins() -> None:
    stop, queue = threading.Event(), TaskQueue(OneSlot(), lambda: 1, lambda _: 0)
    dispatch = Dispatch(
        Submitter(queue, {"city": None}, "", lambda job: None),  # type: ignore[arg-type, return-value]
        retries=0,
        phase_seconds=60,
        on_point=lambda job, point: None,
        on_retry=lambda task, retry, reason: None,
        stops=(stop,),
    )
    assert (dispatch.busy(), dispatch.waiting()) == (0, 0)
    jobs = [RateJob(Stage.FULL, "city", 3, qp) for qp in (20, 30, 40)]
    raised: list[BaseException] = []

    def run() -> None:
        with pytest.raises(Interrupted) as caught:
            dispatch.run("c0001", jobs, verify=False)
        raised.append(caught.value)

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(500):
        if (dispatch.busy(), dispatch.waiting()) == (1, 2):
            break
        time.sleep(0.01)
    else:
        raise AssertionError((dispatch.busy(), dispatch.waiting()))
    stop.set()
    thread.join()
    assert raised
    assert (dispatch.busy(), dispatch.waiting()) == (0, 0)


@pytest.mark.parametrize(
    ("address", "most_slots", "slots", "ahead"),
    [
        ("", 0, 2, 1),  # a cluster of our own does not grow
        ("", 0, 64, 8),
        ("", 64, 2, 1),
        ("head:6379", 64, 1, 63),  # the autoscaler sees what the largest cluster could run
        ("head:6379", 64, 64, 8),
        ("head:6379", 0, 1, 1),  # unknown: it doubles
        ("head:6379", 0, 16, 16),
    ],
)
def test_a_cluster_that_grows_is_given_more_than_it_can_take_now(
    address: str, most_slots: int, slots: int, ahead: int
) -> None:
    options = default_engine_options(address=address, most_slots=most_slots)
    assert tasks_ahead(options, slots) == ahead
