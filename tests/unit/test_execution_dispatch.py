"""How often a job may be lost, with workers that lose it on purpose."""

from collections.abc import Sequence
from fractions import Fraction

import pytest

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import Cost, Quality, RatePoint, Stage
from evocodec.domain.video import StreamInfo
from evocodec.evaluation.stages import RateJob
from evocodec.execution.dispatch import Dispatch, Step, Submitter, TaskLostError
from evocodec.execution.messages import Encoded, Scored, TaskItem, TaskSpec
from evocodec.sandbox.launcher import ResourceUse
from evocodec.sandbox.policy import Limits, Policy

JOB = RateJob(Stage.SMOKE, "clip", 1, 30.0)
SPEC = TaskSpec("clip", StreamInfo(16, 16, Fraction(30), 1), 30.0, "v0", Limits(), Policy())


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


def run(losses: Sequence[TaskLostError]) -> tuple[list[RateJob], list[int]]:
    points: list[RateJob] = []
    retries: list[int] = []
    dispatch = Dispatch(
        Submitter(LossyWorkers(losses), {"clip": "frames"}, "source", lambda _: SPEC),
        retries=2,
        phase_seconds=60.0,
        on_point=lambda job, _: points.append(job),
        on_retry=lambda _task, retry, _reason: retries.append(retry),
        stops=(),
    )
    dispatch.run("c0001", [JOB], None)
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
