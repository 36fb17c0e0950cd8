"""A joined cluster of three GPU nodes (pretended) while its parts are killed under a load.

Whatever is lost, every point is reported once, with the numbers that it would have had anyway.
"""

import contextlib
import errno
import itertools
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.results import RatePoint, Stage
from evocodec.domain.video import Frame, StreamInfo
from evocodec.execution.engine import Engine, ray_engine
from evocodec.execution.jobs import RateJob
from evocodec.execution.workers import remote_cluster
from evocodec.execution.workers.driver_client import DriverClient
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, make_clip
from tests.support.default_options import default_engine_options, default_limits, default_policy
from tests.support.ray_nodes import PATIENCE, Nodes, cut, freeze, namespace, ray_nodes, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

STORE = (Path(__file__).parents[1] / "data" / "store_codec.py").read_text()
IN_ENCODER = "    for frame in frames:\n"
LASTING = STORE.replace(IN_ENCODER, f"    import time; time.sleep(0.5)\n{IN_ENCODER}")
WORKERS = {"w1": "127.0.0.21", "w2": "127.0.0.22", "w3": "127.0.0.23"}


def make_small_clip() -> Clip:
    stream = StreamInfo(64, 48, Fraction(30), 3)
    rng = np.random.default_rng(7)
    shapes = ((48, 64), (24, 32), (24, 32))
    frames = tuple(
        Frame(*(rng.integers(16, 235, shape, dtype=np.uint8) for shape in shapes)) for _ in range(3)
    )
    return make_clip(ClipSource("small", ""), stream, frames)


def start_engine(nodes: Nodes, *, of: str = "driver") -> Engine:
    """Joined by the node ``of`` that name."""
    engine = ray_engine(
        default_engine_options(
            limits=default_limits(wall_seconds=20, cpu_seconds=20, memory_bytes=512 * MEBIBYTE),
            policy=default_policy(),
            writer_id="v0",
            address=nodes.address,
            temp_dir=nodes.nodes[of].folder,
            gpus_per_task=0.5,
            sandboxes_per_task=1.0,
            grace_seconds=10.0,
            head_seconds=10.0,
            first_worker_seconds=90.0,
        )
    )
    engine.start()
    engine.put_clip(make_small_clip())
    return engine


class Load:
    """Candidates one after the other in a few threads, and all that was reported of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(4)]
        self.wanted: list[tuple[str, RateJob]] = []
        self.points: list[tuple[str, RateJob, RatePoint]] = []
        self.retries: list[tuple[str, int, str]] = []
        self.errors: list[BaseException] = []
        self.most_busy = 0

    def _work(self) -> None:
        while not self._over.is_set():
            name = f"c{next(self._numbers):04d}"
            jobs = [RateJob(Stage.FULL, "small", 3, qp) for qp in (20.0, 30.0)]
            self.wanted += [(name, job) for job in jobs]

            def on_point(job: RateJob, point: RatePoint, name: str = name) -> None:
                self.points.append((name, job, point))

            try:
                self._engine.run_jobs(
                    name,
                    LASTING,
                    jobs,
                    on_point=on_point,
                    on_retry=lambda *retry: self.retries.append(retry),
                    verify=True,
                )
            except BaseException as error:  # noqa: BLE001 - the test looks at what came
                self.errors.append(error)
                return

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def more(self, count: int, seconds: float) -> None:
        """Wait until so many more points have come."""
        goal = len(self.points) + count
        wait_for(lambda: self._look() and (len(self.points) >= goal or self.errors), seconds)
        assert self.errors == []

    def done_with_all_begun(self, seconds: float) -> None:
        """Wait until the points of all candidates that are under way have come."""
        under_way = set(self.wanted)
        wait_for(lambda: under_way <= {(name, job) for name, job, _ in self.points}, seconds)

    def _look(self) -> bool:
        self.most_busy = max(self.most_busy, self._engine.busy())
        return True

    def end(self, seconds: float) -> None:
        self._over.set()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads)

    def check(self) -> None:
        """Nothing lost, nothing doubled, nothing wrong."""
        assert self.errors == []
        assert Counter((name, job) for name, job, _ in self.points) == Counter(self.wanted)
        assert {point.quality.psnr_y_db for _, _, point in self.points} == {100.0}
        assert len({(point.bits, point.bitstream_sha256) for _, _, point in self.points}) == 1


@contextmanager
def load_on(engine: Engine) -> Iterator[Load]:
    load = Load(engine)
    load.start()
    try:
        yield load
    finally:
        load.end(60)
    load.check()


@pytest.fixture(scope="module")
def patience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENCE.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def nodes(patience: None) -> Iterator[Nodes]:
    with ray_nodes("127.0.0.20") as cluster:
        for name, ip in WORKERS.items():
            cluster.add_worker(name, ip)
        yield cluster


@pytest.fixture(scope="module")
def engine(nodes: Nodes) -> Iterator[Engine]:
    engine = start_engine(nodes)
    wait_for(lambda: engine.slots() == 3, 60)
    yield engine
    engine.close()


def test_all_nodes_take_tasks_and_a_killed_worker_costs_a_retry(
    nodes: Nodes, engine: Engine
) -> None:
    with load_on(engine) as load:
        workers = [nodes.nodes[name] for name in WORKERS]
        wait_for(lambda: all(node.workers() for node in workers), 40)
        load.more(3, 30)
        while not load.retries:  # a task may end just before it is killed
            with contextlib.suppress(psutil.NoSuchProcess):
                wait_for(nodes.nodes["w1"].workers, 40)[0].kill()
            with contextlib.suppress(AssertionError):
                wait_for(lambda: load.retries, 5)
        load.more(3, 30)
    assert load.most_busy >= 3


def test_a_node_that_dies_costs_retries_and_its_successor_is_used(
    nodes: Nodes, engine: Engine
) -> None:
    with load_on(engine) as load:
        node = nodes.nodes["w2"]
        wait_for(node.workers, 30)
        node.kill()  # and the keeper starts it anew
        load.more(6, 40)
        wait_for(node.workers, 40)
    assert load.retries


def test_what_was_sent_to_a_node_that_freezes_and_never_began_is_done_elsewhere(
    nodes: Nodes, engine: Engine
) -> None:
    wait_for(lambda: engine.slots() == 3, 40)
    node = nodes.nodes["w1"]
    if not node.idle_workers():
        with load_on(engine):
            wait_for(node.workers, 40)
    freeze(wait_for(node.idle_workers, 40))  # they take the next tasks in, and never begin them
    with load_on(engine) as load:
        load.more(3, 40)
        node.stay_dead = True
        freeze(node.tree())
        try:
            load.done_with_all_begun(40)
        finally:
            node.kill()
            node.stay_dead = False


def test_a_node_that_is_told_to_go_gets_no_more_tasks_and_goes_unnoticed(
    nodes: Nodes, engine: Engine
) -> None:
    wait_for(lambda: engine.slots() == 3, 40)
    with load_on(engine) as load:
        node = nodes.nodes["w3"]
        wait_for(node.workers, 30)
        nodes.drain("w3")
        wait_for(lambda: not node.workers(), 30)
        load.more(4, 40)
        assert not node.workers()
        node.kill()
        load.more(4, 40)
    assert load.retries == []


def test_a_lost_connection_is_made_again(
    nodes: Nodes, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = iter([BlockingIOError(errno.EAGAIN, "no process can be started")])

    def link_to(on_change: Callable[[], None]) -> DriverClient:
        for error in full:
            raise error
        return DriverClient(on_change)

    monkeypatch.setattr(remote_cluster, "DriverClient", link_to)
    with load_on(engine) as load:
        load.more(2, 40)
        (driver,) = [
            child
            for child in psutil.Process().children()
            if "evocodec.execution.workers.ray_driver" in child.cmdline()
        ]
        driver.kill()
        load.more(4, 60)
    assert any("its driver ended (-9)" in reason for _, _, reason in load.retries)


def test_a_head_that_dies_with_all_it_knew_costs_time_only(
    nodes: Nodes, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="evocodec.execution")
    with load_on(engine) as load:
        load.more(2, 30)
        nodes.nodes["head"].kill()
        wait_for(lambda: "joined the Ray cluster again" in caplog.text, 60)
        load.more(4, 60)
    assert load.retries  # each says what it saw of it: a dead node, or a lost cluster
    wait_for(lambda: engine.slots() == 3, 30)


@pytest.fixture
def cable() -> Iterator[str]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and the ip command")
    with ExitStack() as stack:
        try:
            outer = stack.enter_context(namespace("evopart", "10.231.7.1", "10.231.7.2"))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace here: {error.stderr.decode().strip()}")
        yield outer


def test_a_node_behind_a_cut_cable_is_given_up_and_comes_back(patience: None, cable: str) -> None:
    with ray_nodes("10.231.7.1", driver=False) as cluster:
        far = cluster.add_worker("far", "10.231.7.2", namespace="evopart")
        cluster.add_worker("near", "10.231.7.1")
        engine = start_engine(cluster, of="head")
        try:
            wait_for(lambda: engine.slots() == 2, 60)
            with load_on(engine) as load:
                wait_for(far.workers, 40)
                far.stay_dead = True  # a start without a network hangs for a minute
                cut(cable)
                # Times three: less than the two minutes that Ray waits by itself.
                load.done_with_all_begun(35)
                load.more(4, 35)
                cut(cable, again=True)
                far.stay_dead = False
                # It hears that it was given up when it next tries to send, ever more seldom.
                wait_for(lambda: engine.slots() == 2, 60)
                load.more(2, 30)
            # None where the far node was between two tasks; Ray may notice before we ask.
            words = ("its node is gone", "NodeDiedError")
            assert all(any(word in reason for word in words) for _, _, reason in load.retries)
        finally:
            engine.close()
