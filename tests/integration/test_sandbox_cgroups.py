"""Control groups: limits that hold for whole trees of processes, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox import cgroups
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import MEBIBYTE, Limits
from tests.support.default_options import default_limits, default_policy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

SHARED_MEMORY = """
import mmap, sys
sys.stdin.readline()
memory = mmap.mmap(-1, 400 << 20)
for place in range(0, len(memory), 4096):
    memory[place] = 1
"""
CHILDREN = """
import os, sys
sys.stdin.readline()
count = 0
try:
    while count < 50:
        if os.fork() == 0:
            os.setsid()
            os.read(3, 1)
            os._exit(0)
        count += 1
except OSError:
    pass
print(count, flush=True)
os.read(3, 1)
"""
SLOW = """
import time
def encode(frames, stream, qp):
    time.sleep({seconds})
    yield b"done"
def decode(packets, stream):
    yield from ()
"""


@pytest.fixture(scope="module")
def groups() -> cgroups.Cgroups:
    try:
        return cgroups.find()
    except OSError as error:
        pytest.skip(f"no control groups can be made here: {error}")


@pytest.fixture
def group(groups: cgroups.Cgroups) -> Iterator[cgroups.JobGroup]:
    made = groups.make()
    yield made
    made.remove()


def started(group: cgroups.JobGroup, program: str) -> subprocess.Popen[bytes]:
    """A process in the group; what reads its descriptor 3 waits until it is killed."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program.replace("os.read(3, 1)", f"os.read({read_end}, 1)")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(read_end, write_end),
    )
    os.close(read_end)
    os.close(write_end)
    group.add(process.pid)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    return process


def leftovers(groups: cgroups.Cgroups) -> list[str]:
    return [
        str(path)
        for folder in set(groups.folders.values())
        for path in folder.glob(f"{cgroups.name_prefix()}*")
    ]


def members(folder: str) -> list[str]:
    return Path(folder, "cgroup.procs").read_text(encoding="ascii").split()


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_memory_that_is_shared_counts_too(group: cgroups.JobGroup) -> None:
    group.limit(default_limits(memory_bytes=64 * MEBIBYTE))
    process = started(group, SHARED_MEMORY)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert group.use().peak_memory_bytes > 64 * MEBIBYTE


def test_processes_are_counted_over_the_whole_tree_and_killed_with_it(
    group: cgroups.JobGroup,
) -> None:
    group.limit(default_limits(processes=8))
    process = started(group, CHILDREN)
    assert process.stdout is not None
    assert int(process.stdout.readline()) == 7
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 7
    group.kill()
    process.communicate(timeout=30)
    _gone, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_version_2_kills_a_whole_tree_at_once() -> None:
    """Without its controllers where version 1 has them; joining and killing need none."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    places = [line.split()[4] for line in mounts.splitlines() if " - cgroup2 " in line]
    if not places or not os.access(places[0], os.W_OK):
        pytest.skip("no writable cgroup file system of version 2")
    groups = cgroups.Cgroups.__new__(cgroups.Cgroups)
    groups.version, groups.folders = 2, dict.fromkeys(("memory", "pids"), Path(places[0]))
    group = cgroups.JobGroup(groups, f"{cgroups.name_prefix()}0.2")
    try:
        process = started(group, CHILDREN.replace("< 50", "< 5"))
        assert process.stdout is not None
        assert int(process.stdout.readline()) == 5
        children = psutil.Process(process.pid).children(recursive=True)
        group.kill()
        process.communicate(timeout=30)
        _gone, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
        assert group.use().cpu_seconds > 0
    finally:
        group.remove()
    assert not (Path(places[0]) / f"{cgroups.name_prefix()}0.2").exists()


def encode(launcher: ForkServerLauncher, seconds: float, limits: Limits) -> None:
    planes = (np.zeros((2, 2), np.uint8), *(np.zeros((1, 1), np.uint8) for _ in "uv"))
    stream = StreamInfo(2, 2, Fraction(30), 1)
    launcher.encode(SLOW.format(seconds=seconds), [Frame(*planes)], stream, 30.0, limits)


def test_a_hybrid_machine_whose_version_2_lacks_the_controllers_is_told_so() -> None:
    place = Path("/sys/fs/cgroup/unified")
    offered = place / "cgroup.controllers"
    if os.getuid() != 0 or not offered.exists() or "memory" in offered.read_text(encoding="ascii"):
        pytest.skip("no hybrid machine, where version 1 holds the controllers")
    mounts = f"36 25 0:31 / {place} rw - cgroup2 cgroup2 rw\n"
    with pytest.raises(OSError, match="version 1 holds them"):
        cgroups.locate("0::/\n", mounts)


def test_every_job_has_a_group_while_it_runs_and_none_afterwards(groups: cgroups.Cgroups) -> None:
    with ForkServerLauncher(default_policy()) as launcher:
        assert launcher.describe().layers["cgroup"] == groups.state
        thread = threading.Thread(target=encode, args=(launcher, 1.0, default_limits()))
        thread.start()
        folders = len(set(groups.folders.values()))
        assert eventually(lambda: len(leftovers(groups)) == folders)
        assert eventually(
            lambda: [len(members(path)) for path in leftovers(groups)] == [1] * folders
        )
        (pid,) = members(leftovers(groups)[0])
        assert psutil.Process(int(pid)).is_running()
        thread.join()
        assert leftovers(groups) == []
        with pytest.raises(CandidateFailure) as caught:
            encode(launcher, 60.0, default_limits(wall_seconds=0.5))
        assert caught.value.kind is FailureKind.TIMEOUT
        assert leftovers(groups) == []


def test_groups_of_a_killed_controller_go_too(groups: cgroups.Cgroups) -> None:
    script = (
        "from fractions import Fraction\n"
        "from evocodec.domain.video import StreamInfo\n"
        "from evocodec.sandbox.forkserver import ForkServerLauncher\n"
        "from evocodec.app.engine import make_limits, make_policy\n"
        "from evocodec.config import Settings\n"
        "program = 'import time\\ntime.sleep(60)'\n"
        "launcher = ForkServerLauncher(make_policy(Settings()))\n"
        "limits = make_limits(Settings())\n"
        "launcher.decode(program, [], StreamInfo(2, 2, Fraction(1), 1), limits)\n"
    )
    controller = subprocess.Popen([sys.executable, "-c", script])

    def found() -> list[Path]:
        name = f"evocodec-*-{controller.pid}-*"
        return [path for folder in groups.folders.values() for path in folder.glob(name)]

    def inside() -> list[str]:
        return [(folder / "cgroup.procs").read_text().strip() for folder in found()]

    assert eventually(lambda: any(inside()), 20)
    controller.kill()
    controller.wait()
    assert eventually(lambda: not found())


def test_a_sweep_removes_what_the_dead_left_and_spares_the_living(groups: cgroups.Cgroups) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    folder = groups.folders["pids"]
    living = folder / f"{cgroups.name_prefix()}0.1"
    dead = folder / living.name.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    dead.mkdir()
    living.mkdir()
    try:
        groups.remove_stale()
        assert not dead.exists()
        assert living.exists()
    finally:
        living.rmdir()


def test_pod_mode_makes_no_groups() -> None:
    with ForkServerLauncher(default_policy(mode="pod"), preload=()) as launcher:
        assert launcher.describe().layers["cgroup"] == "off: pod mode"
