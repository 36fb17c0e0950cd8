"""Ray workers: each task is a named, streaming Ray task."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import ray
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    RayError,
    TaskCancelledError,
)

from evocodec.execution.contract import EngineOptions
from evocodec.execution.messages import TaskItem, TaskStarted
from evocodec.execution.tasks import TASKS
from evocodec.execution.worker_contract import ObjectRef, Step, TaskLostError, TaskStream

_ITEM_SECONDS = 30.0


class RayWorkers:
    """Implements ``Workers`` on the cluster that this process is connected to."""

    def __init__(self, options: EngineOptions) -> None:
        # max_calls=0 said aloud: for GPU tasks Ray's default is a new worker for every call, and
        # with it a cold fork server.
        remote = ray.remote(
            max_calls=0,
            max_retries=0,
            **task_resources(options),
        )
        self._run = remote(_run_on_node)
        self._places: WeakKeyDictionary[TaskStream, str] = WeakKeyDictionary()  # node ids
        self._gone: dict[str, str] = {}  # dead nodes' ids, and what they died of

    def look_at_nodes(self) -> None:
        """Ask the head which nodes are dead: their tasks will not answer any more.

        Ray itself waits for the connection to break. That of a machine which went without a word,
        with its cable or its power, does so only after minutes.
        """
        dead = [node for node in ray.nodes() if not node["Alive"]]
        self._gone = {node["NodeID"]: node["DeathReasonMessage"] for node in dead}

    def put(self, value: object) -> ObjectRef:
        """Put a value into the object store."""
        return ray.put(value)

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> TaskStream:
        """Submit a task under its name."""
        named = self._run.options(name=name, num_returns="streaming")
        return named.remote(TASKS[step], *arguments)

    def ready(self, streams: Sequence[TaskStream], seconds: float) -> Sequence[TaskStream]:
        """Return all that are ready once one of them is."""
        every = list(streams)
        done, _ = ray.wait(every, num_returns=1, timeout=seconds, fetch_local=False)
        if done and len(every) > 1:
            done, _ = ray.wait(every, num_returns=len(every), timeout=0, fetch_local=False)
        found: list[TaskStream] = done
        return [*found, *(node for node in every if self._is_gone(node) and node not in found)]

    def take(self, stream: TaskStream) -> TaskItem:
        """Fetch the next value of a task."""
        reference = self.take_reference(stream)
        try:
            item: TaskItem = ray.get(reference, timeout=_ITEM_SECONDS)
        except GetTimeoutError as error:
            raise TaskLostError("the task's answer did not arrive") from error
        except RayError as error:
            raise _lost(error) from error
        if isinstance(item, TaskStarted):
            self._places[stream] = item.node_id
        return item

    def take_reference(self, stream: TaskStream) -> ObjectRef:
        """Return the reference to the next value."""
        died_of = self._gone.get(self._places.get(stream, ""))
        if died_of is not None and not ray.wait([stream], timeout=0, fetch_local=False)[0]:
            raise TaskLostError(f"its node is gone: {died_of}", with_node=True)
        try:
            return next(stream)
        except RayError as error:
            raise _lost(error) from error

    def cancel(self, stream: TaskStream, *, force: bool) -> None:
        """Cancel a task; with ``force`` its worker process dies."""
        ray.cancel(stream, force=force)

    def _is_gone(self, stream: TaskStream) -> bool:
        return self._places.get(stream) in self._gone


def task_resources(options: EngineOptions) -> dict[str, Any]:
    """Resources that Ray reserves for each task, as ``ray.remote`` takes them."""
    sandboxes = options.sandboxes_per_task
    return {
        "num_cpus": options.cpus_per_task,
        "num_gpus": options.gpus_per_task,
        "resources": {"sandbox": sandboxes} if sandboxes else {},
    }


def _run_on_node(task: Callable[..., Iterator[object]], *arguments: object) -> Iterator[object]:
    """Run a task, and name its node.

    One function for all of them: Ray shares slots between functions, and starts tasks in the order
    in which they were submitted only where they are of the same one.
    """
    for item in task(*arguments):
        if isinstance(item, TaskStarted):
            yield replace(item, node_id=ray.get_runtime_context().get_node_id())
        else:
            yield item


def _lost(error: RayError) -> TaskLostError:
    # A node that dies or is taken away, and what was kept only there.
    with_node = isinstance(error, NodeDiedError | ObjectLostError)
    return TaskLostError(_reason(error), with_node=with_node)


def _reason(error: RayError) -> str:
    if isinstance(error, TaskCancelledError):
        return "the task was cancelled from outside"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else 'no message'}"
