"""Workers contract: whoever runs tasks, the tasks that a rate job consists of, and their loss."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from evocodec.execution.messages import TaskItem

# What workers make of a value, and of a task that yields values; Ray ships no types for either.
ObjectRef: TypeAlias = Any
TaskStream: TypeAlias = Any


class Step(StrEnum):
    """The tasks that a rate job consists of; part of the task's name."""

    ENCODE = "encode"
    DECODE = "decode"
    VERIFY = "verify"


class TaskLostError(Exception):
    """The task will not answer any more, for no fault of the program; the message says why.

    ``with_node``: its whole machine went, or the way to the cluster, and not its worker alone.
    """

    def __init__(self, message: str, *, with_node: bool = False) -> None:
        super().__init__(message)
        self.with_node = with_node


class Workers(Protocol):
    """Runs the tasks, one in each slot; any thread may call."""

    def put(self, value: object) -> ObjectRef:
        """Make a value known to the workers, once for many tasks."""
        ...

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> TaskStream:
        """Queue a task; arguments may be references."""
        ...

    def ready(self, streams: Sequence[TaskStream], seconds: float) -> Sequence[TaskStream]:
        """Return those that have something to take or are over, after at most ``seconds``."""
        ...

    def take(self, stream: TaskStream) -> TaskItem:
        """Return the next value of a task.

        Raises StopIteration when the task is over, and TaskLostError when it cannot go on.
        """
        ...

    def take_reference(self, stream: TaskStream) -> ObjectRef:
        """Return a reference to the next value, which stays where it is; raises as ``take``."""
        ...

    def cancel(self, stream: TaskStream, *, force: bool) -> None:
        """Withdraw a task; ``force`` kills it when it runs, with its worker's fork servers."""
        ...
