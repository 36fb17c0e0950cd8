"""Messages between the controller and the driver process that holds its Ray connection.

Both processes are ours, one starts the other, and no other process has the pipe between them:
pickle is safe there. The controller numbers everything; numbers are never used twice.
"""

from dataclasses import dataclass
from typing import TypeAlias

from evocodec.execution.contract import EngineOptions
from evocodec.execution.worker_contract import Step
from evocodec.video.clips import Clip


@dataclass(frozen=True, slots=True)
class Open:
    """Connect; ``wait_for_worker`` until one has described its sandbox. Answered by Opened."""

    options: EngineOptions
    wait_for_worker: bool


@dataclass(frozen=True, slots=True)
class Handle:
    """Stands in a task's arguments for the value of that number."""

    number: int


@dataclass(frozen=True, slots=True)
class Put:
    """Keep a value in the object store."""

    number: int
    value: object


@dataclass(frozen=True, slots=True)
class PutClip:
    """Keep a clip's frames in the object store."""

    number: int
    clip: Clip


@dataclass(frozen=True, slots=True)
class Start:
    """Queue a task; its stream has the number."""

    number: int
    step: Step
    name: str
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Withdraw or kill a task."""

    number: int
    force: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget values and streams."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """Question for the streams that have a message; answered by their numbers."""

    numbers: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Take:
    """The next value of a stream, answered by it, by EndOfStream or by TaskGone.

    With ``keep_as`` the value stays in the object store under that number, and None comes back.
    """

    number: int
    keep_as: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is answered under its number."""

    number: int
    request: Ready | Take


@dataclass(frozen=True, slots=True)
class Close:
    """Disconnect and end."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Reply to Open: the result of the engine's start(), nothing on a later one, or an error."""

    answer: object


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The stream has ended."""


@dataclass(frozen=True, slots=True)
class TaskGone:
    """The task cannot continue; see ``TaskLostError``."""

    reason: str
    with_node: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """To the Question of that number."""

    number: int
    value: object


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The head has just answered; how many slots it knows of."""

    slots: int


Order: TypeAlias = Open | Put | PutClip | Start | Cancel | Drop | Question | Close
Report: TypeAlias = Opened | Answer | Heartbeat
