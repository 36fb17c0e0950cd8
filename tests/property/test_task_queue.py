"""The order in which tasks of several candidates get slots, whatever comes and ends."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from evocodec.domain.results import Stage
from evocodec.execution.messages import TaskItem
from evocodec.execution.task_queue import QueuedTask, TaskQueue
from evocodec.execution.worker_contract import Step

STAGES = (Stage.SMOKE, Stage.SCREEN, Stage.FULL, Stage.HELD_OUT)
STEPS = (Step.ENCODE, Step.DECODE, Step.VERIFY)
KINDS = [(stage, step, age) for stage in STAGES for step in STEPS for age in (0, 1)]

changes = st.one_of(
    st.tuples(st.sampled_from(STAGES), st.sampled_from(STEPS), st.integers(0, 4)),
    st.tuples(st.sampled_from(["ends", "is withdrawn", "goes on"]), st.integers(0, 99)),
    st.tuples(st.just("slots"), st.integers(1, 5)),
)


class Recorder:
    """Workers that only note what they were given, in order."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.cancelled: list[str] = []

    def put(self, value: object) -> object:
        return value

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> str:
        self.given.append(name)
        return name

    def ready(self, streams: Sequence[str], seconds: float) -> Sequence[str]:
        return streams

    def take(self, stream: str) -> TaskItem:
        raise StopIteration

    def take_reference(self, stream: str) -> object:
        raise StopIteration

    def cancel(self, stream: str, *, force: bool) -> None:
        self.cancelled.append(stream)


class Traffic:
    """A queue, its tasks that are not over, and a number of slots that changes."""

    def __init__(self, ahead: int) -> None:
        self.workers, self.slots = Recorder(), 2
        self.queue = TaskQueue(self.workers, lambda: self.slots, lambda _: ahead, look_seconds=0.0)
        self.tasks: list[QueuedTask] = []
        self.submitted = 0

    def change(self, change: tuple[object, ...]) -> None:
        match change:
            case (Stage() as stage, Step() as step, int(number)):
                self.submit(f"c{number}", stage, step)
            case ("slots", int(slots)):
                self.slots = slots
                self.queue.ready(self.tasks, 0.0)  # as every dispatch asks, over and over
            case (what, int(which)) if self.tasks:
                task = self.tasks.pop(which % len(self.tasks))
                if what == "goes on":
                    self.submit("c0", Stage.FULL, Step.VERIFY, instead_of=task)
                elif what == "ends":
                    self.queue.end(task)
                else:
                    self.queue.cancel(task, force=False)

    def submit(
        self, candidate_id: str, stage: Stage, step: Step, instead_of: QueuedTask | None = None
    ) -> None:
        self.submitted += 1
        name = f"{candidate_id}/{self.submitted}"
        task = self.queue.submit(candidate_id, stage, step, name, (), instead_of=instead_of)
        self.tasks.append(task)

    def handed_out(self) -> list[QueuedTask]:
        return [task for task in self.tasks if task.stream is not None]

    def waiting(self) -> list[QueuedTask]:
        return [task for task in self.tasks if task.stream is None]


@given(st.lists(changes, max_size=60), st.integers(0, 2))
def test_workers_have_the_nearest_to_an_adoption_and_as_many_as_they_can_take(
    course: list[tuple[object, ...]], ahead: int
) -> None:
    traffic = Traffic(ahead)
    for change in course:
        before = traffic.handed_out()
        traffic.change(change)
        given = [task for task in traffic.handed_out() if task not in before]
        waiting = traffic.waiting()
        assert all(task.place < other.place for task in given for other in waiting)
        if given:
            assert len(traffic.handed_out()) <= traffic.slots + ahead
        if waiting:
            assert len(traffic.handed_out()) >= traffic.slots + ahead


@given(st.permutations(KINDS))
def test_a_later_stage_goes_first_then_a_later_step_then_an_older_candidate(
    arrived: list[tuple[Stage, Step, int]],
) -> None:
    workers = Recorder()
    queue = TaskQueue(workers, lambda: 1, lambda _: 0)
    blocking = queue.submit("older", Stage.SMOKE, Step.ENCODE, "blocking", ())
    withdrawn = queue.submit("younger", Stage.SMOKE, Step.ENCODE, "withdrawn", ())
    queue.cancel(withdrawn, force=False)
    tasks = {}
    for stage, step, age in arrived:
        name = f"{STAGES.index(stage)} {STEPS.index(step)} {1 - age}"
        tasks[name] = queue.submit(("older", "younger")[age], stage, step, name, ())
    queue.end(blocking)
    while len(workers.given) <= len(arrived):
        queue.end(tasks[workers.given[-1]])
    assert workers.given[1:] == sorted(tasks, reverse=True)
    assert workers.cancelled == []
