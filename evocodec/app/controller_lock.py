"""Lock of a run's controller: tells a run that goes on from one whose process is gone.

A process that is killed, whose terminal closes or whose machine loses power says nothing in the
ledger. The kernel releases its lock all the same.
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evocodec.domain.events import RunStopped
from evocodec.domain.vocabulary import RunOutcome, RunPhase
from evocodec.views.progress import Progress
from evocodec.views.run import RunView

GONE = "its process ended without a word; everything measured is kept"

_NAME = "controller.lock"
_MOST_NAME_BYTES = 256


@contextmanager
def controlled(folder: Path) -> Iterator[None]:
    """Hold the lock of the run in ``folder``, for as long as this process has it in its care.

    Shared, so that another controller can take over a run whose first one has lost its network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.pwrite(fd, platform.node().encode()[:_MOST_NAME_BYTES].ljust(_MOST_NAME_BYTES), 0)
        yield
    finally:
        os.close(fd)


def is_gone(folder: Path) -> bool:
    """Whether the run in ``folder`` had a controller on this machine, and has none any more.

    False where nobody can tell: for runs of other machines, and of versions without the lock.
    """
    try:
        fd = os.open(folder / _NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.pread(fd, _MOST_NAME_BYTES, 0).decode(errors="replace").strip() != platform.node():
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or this file system has no locks
        return False
    finally:
        os.close(fd)
    return True


def note_gone(progress: Progress) -> None:
    """Let a run that was read from its ledger end where its controller did."""
    stop = unrecorded_stop(progress.view())
    if stop is not None:
        progress.apply(stop)


def unrecorded_stop(run: RunView) -> RunStopped | None:
    """Return the stop that a run whose controller is gone would have recorded; None if it did."""
    if run.state is not RunPhase.RUNNING:
        return None
    return RunStopped(
        run_id=run.run_id,
        at=run.last_at,
        outcome=RunOutcome.INTERRUPTED,
        message=GONE,
        resumed=run.resumed,
    )
