"""How often a job may be lost, with workers that lose it on purpose."""

import time
from collections.abc import Sequence
from fractions import Fraction

import pytest

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import Cost, Quality, RatePoint, ResourceUse, Stage
from evocodec.domain.video import StreamInfo
from evocodec.execution.dispatch import Dispatch, Submitter
from evocodec.execution.jobs import RateJob
from evocodec.execution.messages import Encoded, Scored, TaskItem, TaskSpec, TaskStarted, Verified
from evocodec.execution.task_queue import TaskQueue
from evocodec.execution.worker_contract import Step, TaskLostError, Workers
from tests.support.default_options import default_limits, default_policy

JOB = RateJob(Stage.SMOKE, "clip", 1, 30.0)
SPEC = TaskSpec(
    "clip", StreamInfo(16, 16, Fraction(30), 1), 30.0, "v0", default_limits(), default_policy()
)


class LossyWorkers:
    """Loses the first encodes as told, and does the rest in no time."""

    def __init__(self, losses: Sequence[TaskLostError]) -> None:
        self._losses = iter(losses)

    def put(self, value: object) -> object:
        return value

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> list[object]:
        if step is Step.DECODE:
            return [Scored(point())]
        lost = next(self._losses, None)
        return [lost] if lost else [Encoded(ResourceUse(0.0, 0.0, 0)), "packets"]

    def ready(self, streams: Sequence[list[object]], seconds: float) -> Sequence[list[object]]:
        return streams

    def take(self, stream: list[object]) -> TaskItem:
        item: TaskItem = self.take_reference(stream)  # type: ignore[assignment]
        return item

    def take_reference(self, stream: list[object]) -> object:
        if not stream:
            raise StopIteration
        item = stream.pop(0)
        if isinstance(item, TaskLostError):
            raise item
        return item

    def cancel(self, stream: list[object], *, force: bool) -> None:
        stream.clear()


class SilentWorkers(LossyWorkers):
    """Says nothing after the beginning of one step, the first time."""

    def __init__(self, step: Step) -> None:
        super().__init__([])
        self._silent: Step | None = step

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> list[object]:
        if step is self._silent:
            self._silent = None
            return [TaskStarted(1, "here")]
        if step is Step.VERIFY:
            return [Verified()]
        return super().start(step, name, arguments)

    def ready(self, streams: Sequence[list[object]], seconds: float) -> Sequence[list[object]]:
        time.sleep(0.01)
        return [stream for stream in streams if stream]


def queue_of(workers: Workers) -> TaskQueue:
    return TaskQueue(workers, lambda: 2, lambda _: 0)


def run(losses: Sequence[TaskLostError]) -> tuple[list[RateJob], list[int]]:
    points: list[RateJob] = []
    retries: list[int] = []
    dispatch = Dispatch(
        Submitter(queue_of(LossyWorkers(losses)), {"clip": "frames"}, "source", lambda _: SPEC),
        retries=2,
        phase_seconds=60.0,
        on_point=lambda job, _: points.append(job),
        on_retry=lambda _task, retry, _reason: retries.append(retry),
        stops=(),
    )
    dispatch.run("c0001", [JOB], verify=False)
    return points, retries


def point() -> RatePoint:
    quality = Quality(40.0, 40.0, 40.0, 40.0, None, 40.0)
    return RatePoint("clip", 30.0, 800, 1, quality, Cost(), "0" * 64)


def crashed(count: int) -> list[TaskLostError]:
    return [TaskLostError("the worker died") for _ in range(count)]


def departed(count: int) -> list[TaskLostError]:
    return [TaskLostError("the node died", with_node=True) for _ in range(count)]


def test_a_job_survives_as_many_crashed_workers_as_retries_allow() -> None:
    assert run(crashed(2)) == ([JOB], [1, 2])
    with pytest.raises(InfrastructureFailure, match="lost 3 times"):
        run(crashed(3))


def test_nodes_that_go_do_not_use_up_the_retries() -> None:
    mixed = [*departed(5), *crashed(2), *departed(5)]
    assert run(mixed) == ([JOB], list(range(1, 13)))
    with pytest.raises(InfrastructureFailure, match="the worker died"):
        run([*departed(5), *crashed(3)])


def test_a_job_that_loses_every_node_it_meets_ends_some_time() -> None:
    with pytest.raises(InfrastructureFailure, match="the node died"):
        run(departed(1000))


@pytest.mark.parametrize(
    ("step", "seconds"), [(Step.ENCODE, "0.1"), (Step.DECODE, "0.1"), (Step.VERIFY, "0.2")]
)
def test_a_silent_task_is_given_up_and_a_verifying_one_has_longer(step: Step, seconds: str) -> None:
    points: list[RateJob] = []
    reasons: list[str] = []
    dispatch = Dispatch(
        Submitter(queue_of(SilentWorkers(step)), {"clip": "frames"}, "source", lambda _: SPEC),
        retries=2,
        phase_seconds=0.1,
        on_point=lambda job, _: points.append(job),
        on_retry=lambda _task, _retry, reason: reasons.append(reason),
        stops=(),
    )
    dispatch.run("c0001", [JOB], verify=True)
    assert reasons == [f"no answer within {seconds} s"]
    assert points == [JOB]
