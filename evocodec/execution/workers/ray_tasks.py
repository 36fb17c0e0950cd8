"""Ray workers: each task is a named, streaming Ray task."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

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
from evocodec.execution.worker_contract import ObjectRef, Step, TaskLostError

_ITEM_SECONDS = 30.0


class RayTask:
    """A task that Ray has been given, and where it runs; owned by its RayWorkers."""

    def __init__(self, give: Callable[[ObjectRef], Any]) -> None:
        self._give = give
        self.stream: Any = None  # Ray's generator of references
        self.deaths = 0  # how many nodes had died when it was submitted
        self.node_id = ""  # once it has begun

    def submit(self, deaths: tuple[int, ObjectRef]) -> None:
        """Give it to Ray, for the first time or again."""
        self.deaths, since = deaths
        self.stream = self._give(since)

    def has_more(self) -> bool:
        """Whether it has something to take, or is over."""
        done, _ = ray.wait([self.stream], timeout=0, fetch_local=False)
        return bool(done)


class RayWorkers:
    """Implements ``Workers`` on the cluster that this process is connected to.

    A task that has not said that it began may have been sent to a node that died meanwhile: Ray
    tells nobody. So when a node dies, all these tasks are withdrawn and submitted again.
    """

    def __init__(self, options: EngineOptions) -> None:
        # max_calls=0 said aloud: for GPU tasks Ray's default is a new worker for every call, and
        # with it a cold fork server.
        remote = ray.remote(
            max_calls=0,
            max_retries=0,
            **task_resources(options),
        )
        self._run = remote(_run_on_node)
        self._gone: dict[str, str] = {}  # dead nodes' ids, and what they died of
        # Of nodes, and something that only the tasks submitted since the last one need. Ray asks
        # nodes for workers on behalf of all tasks that are alike in what they need, never for more
        # workers than such tasks wait, and goes on waiting for minutes if it asked a dead node.
        self._deaths: tuple[int, ObjectRef] = 0, None
        self._submitting_again = threading.Lock()

    def look_at_nodes(self) -> None:
        """Ask the head which nodes are dead: their tasks will not answer any more.

        Ray itself waits for the connection to break. That of a machine which went without a word,
        with its cable or its power, does so only after minutes.
        """
        dead = [node for node in ray.nodes() if not node["Alive"]]
        gone = {node["NodeID"]: node["DeathReasonMessage"] for node in dead}
        new = gone.keys() - self._gone.keys()
        self._gone = gone
        if new:
            count = self._deaths[0] + len(new)
            self._deaths = count, ray.put(count)

    def put(self, value: object) -> ObjectRef:
        """Put a value into the object store."""
        return ray.put(value)

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> RayTask:
        """Submit a task under its name."""
        named = self._run.options(name=name, num_returns="streaming")
        task = RayTask(lambda since: named.remote(since, TASKS[step], *arguments))
        task.submit(self._deaths)
        return task

    def ready(self, streams: Sequence[RayTask], seconds: float) -> Sequence[RayTask]:
        """Return all that are ready once one of them is."""
        for task in streams:
            self._submit_again_if_in_doubt(task)
        every = {task.stream: task for task in streams}
        done, _ = ray.wait(list(every), num_returns=1, timeout=seconds, fetch_local=False)
        if done and len(every) > 1:
            done, _ = ray.wait(list(every), num_returns=len(every), timeout=0, fetch_local=False)
        found = [every[stream] for stream in done]
        return [*found, *(task for task in streams if self._is_gone(task) and task not in found)]

    def take(self, stream: RayTask) -> TaskItem:
        """Fetch the next value of a task."""
        reference = self.take_reference(stream)
        try:
            item: TaskItem = ray.get(reference, timeout=_ITEM_SECONDS)
        except GetTimeoutError as error:
            raise TaskLostError("the task's answer did not arrive") from error
        except RayError as error:
            raise _lost(error) from error
        if isinstance(item, TaskStarted):
            stream.node_id = item.node_id
        return item

    def take_reference(self, stream: RayTask) -> ObjectRef:
        """Return the reference to the next value."""
        died_of = self._gone.get(stream.node_id)
        if died_of is not None and not stream.has_more():
            raise TaskLostError(f"its node is gone: {died_of}", with_node=True)
        try:
            return next(stream.stream)
        except RayError as error:
            raise _lost(error) from error

    def cancel(self, stream: RayTask, *, force: bool) -> None:
        """Cancel a task; with ``force`` its worker process dies."""
        ray.cancel(stream.stream, force=force)

    def _is_gone(self, task: RayTask) -> bool:
        return task.node_id in self._gone

    def _submit_again_if_in_doubt(self, task: RayTask) -> None:
        with self._submitting_again:
            deaths = self._deaths
            if not (task.node_id or task.deaths == deaths[0] or task.has_more()):
                ray.cancel(task.stream, force=False)
                task.submit(deaths)


def task_resources(options: EngineOptions) -> dict[str, Any]:
    """Resources that Ray reserves for each task, as ``ray.remote`` takes them."""
    sandboxes = options.sandboxes_per_task
    return {
        "num_cpus": options.cpus_per_task,
        "num_gpus": options.gpus_per_task,
        "resources": {"sandbox": sandboxes} if sandboxes else {},
    }


def _run_on_node(
    since: object, task: Callable[..., Iterator[object]], *arguments: object
) -> Iterator[object]:
    """Run a task, and name its node; ``since`` tells it from those that Ray had before.

    One function for all of them: Ray shares slots between functions, and starts tasks in the order
    in which they were submitted only where they are of the same one.
    """
    del since
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
