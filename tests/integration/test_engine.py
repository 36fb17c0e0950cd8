"""The engine on each kind of workers, with real sandboxes and Ray; only the codecs are tiny."""

import hashlib
import io
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from evocodec.codec.container import EvcHeader, write_evc
from evocodec.domain.errors import (
    CandidateFailure,
    FailureKind,
    InfrastructureFailure,
    Interrupted,
)
from evocodec.domain.results import RatePoint, Stage
from evocodec.domain.video import Frame, StreamInfo
from evocodec.execution.contract import EngineInfo, EngineOptions
from evocodec.execution.emulation import emulated_processor
from evocodec.execution.engine import Engine, local_engine, ray_engine
from evocodec.execution.jobs import RateJob
from evocodec.sandbox import policy
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, make_clip
from tests.support.default_options import default_engine_options, default_limits, default_policy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

STORE = (Path(__file__).resolve().parents[1] / "data" / "store_codec.py").read_text()
IN_ENCODER = "    for frame in frames:\n"
IN_DECODER = "    for packet in packets:\n"
LIMITS = default_limits(wall_seconds=6, cpu_seconds=20, memory_bytes=512 * MEBIBYTE)
WRITER = "v0"


def options(**changes: object) -> EngineOptions:
    given: dict[str, object] = {
        "limits": LIMITS,
        "policy": default_policy(),
        "writer_id": WRITER,
        "local_cpus": 2,
        "grace_seconds": 14.0,
        "object_store_bytes": 128 * MEBIBYTE,
    }
    return default_engine_options(**{**given, **changes})


def clip(name: str, width: int, height: int, count: int) -> Clip:
    stream = StreamInfo(width, height, Fraction(30), count)
    rng = np.random.default_rng(7)
    luma, chroma = (height, width), (stream.chroma_height, stream.chroma_width)
    frames = tuple(
        Frame(*(rng.integers(16, 235, shape, dtype=np.uint8) for shape in (luma, chroma, chroma)))
        for _ in range(count)
    )
    return make_clip(ClipSource(name, ""), stream, frames)


EVEN, ODD = clip("even", 64, 48, 5), clip("odd", 35, 21, 3)


@dataclass
class Run:
    """What came of run_jobs."""

    points: dict[RateJob, RatePoint] = field(default_factory=dict)
    retries: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass
class Lab:
    engine: Engine
    info: EngineInfo

    def run(
        self,
        source: str,
        *jobs: RateJob,
        name: str = "c0001",
        stop: threading.Event | None = None,
        verify: bool = False,
        into: Run | None = None,
    ) -> Run:
        run = into or Run()
        self.engine.run_jobs(
            name,
            source,
            jobs,
            on_point=lambda job, point: run.points.update({job: point}),
            on_retry=lambda *retry: run.retries.append(retry),
            stop=stop,
            verify=verify,
        )
        return run


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    engine = ray_engine(options())
    info = engine.start()
    engine.put_clip(EVEN)
    engine.put_clip(ODD)
    yield Lab(engine, info)
    engine.close()


@pytest.fixture(scope="module")
def local_lab() -> Iterator[Lab]:
    engine = local_engine(options())
    info = engine.start()
    engine.put_clip(EVEN)
    engine.put_clip(ODD)
    yield Lab(engine, info)
    engine.close()


@pytest.fixture(scope="module")
def joined_lab(lab: Lab) -> Iterator[Lab]:
    """The same cluster, joined through a process of its own."""
    engine = ray_engine(options(address=lab.info.address, local_cpus=None, most_slots=2))
    info = engine.start()
    engine.put_clip(EVEN)
    engine.put_clip(ODD)
    yield Lab(engine, info)
    engine.close()


@pytest.fixture(params=["lab", "joined_lab", "local_lab"], ids=["ray", "joined", "local"])
def each(request: pytest.FixtureRequest) -> Lab:
    """The engine on each kind of workers: what is asked of one is asked of all."""
    found: Lab = request.getfixturevalue(request.param)
    return found


def job(name: str = "even", qp: float = 30.0, frames: int = 3) -> RateJob:
    return RateJob(Stage.SMOKE, name, frames, qp)


def slowly(seconds: float, where: str = IN_ENCODER) -> str:
    return STORE.replace(where, f"    import time; time.sleep({seconds})\n{where}")


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.02)


def test_a_point_counts_the_bytes_of_the_file_and_scores_the_decoded_frames(each: Lab) -> None:
    jobs = (job(frames=5), job("odd", qp=20.0))
    run = each.run(STORE, *jobs)
    for measured, whole in zip(jobs, (EVEN, ODD), strict=True):
        point, frames = run.points[measured], whole.frames[: measured.frames]
        packed = io.BytesIO()
        stream = StreamInfo(whole.stream.width, whole.stream.height, Fraction(30), len(frames))
        packets = [b"".join(plane.tobytes() for plane in frame) for frame in frames]
        write_evc(packed, EvcHeader(WRITER, stream), packets)
        assert point.bits == 8 * len(packed.getvalue())
        assert point.bitstream_sha256 == hashlib.sha256(packed.getvalue()).hexdigest()
        assert (point.clip, point.qp, point.frames) == (whole.name, measured.qp, len(frames))
        assert point.quality.psnr_y_db == 100.0
        assert point.cost.frames == len(frames)
        assert point.cost.encode_cpu_seconds > 0
        assert point.cost.decode_wall_seconds > 0
        assert point.cost.peak_memory_bytes > 0
    assert run.retries == []


FAILURES: dict[str, tuple[FailureKind, str]] = {
    "empty packets": (
        FailureKind.EXCEPTION,
        STORE.replace('yield b"".join(plane.tobytes() for plane in frame)', 'yield b""'),
    ),
    "raises": (
        FailureKind.EXCEPTION,
        STORE.replace(IN_ENCODER, f"    raise ValueError('no')\n{IN_ENCODER}"),
    ),
    "sleeps": (FailureKind.TIMEOUT, slowly(60, IN_DECODER)),
    "reads a file": (
        FailureKind.FORBIDDEN,
        STORE.replace(IN_DECODER, f"    open('/etc/passwd').read()\n{IN_DECODER}"),
    ),
    "wrong shape": (
        FailureKind.BAD_OUTPUT,
        STORE.replace("flat[:luma].reshape(stream.height, stream.width)", "flat[:luma]"),
    ),
    "too few frames": (
        FailureKind.BAD_OUTPUT,
        STORE.replace(IN_DECODER, f"    next(packets)\n{IN_DECODER}"),
    ),
    "too much memory": (
        FailureKind.MEMORY,
        STORE.replace(IN_ENCODER, f"    hog = np.ones(1 << 30, np.uint8)\n{IN_ENCODER}"),
    ),
    "other frames every time": (
        FailureKind.NONDETERMINISTIC,
        STORE.replace(
            "np.frombuffer(packet, np.uint8)",
            "np.random.default_rng().integers(256, size=len(packet), dtype=np.uint8)",
        ),
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_bad_program_fails_as_itself_and_leaves_no_point(each: Lab, case: str) -> None:
    kind, source = FAILURES[case]
    run, only = Run(), job()
    with pytest.raises(CandidateFailure) as caught:
        each.run(source, only, verify=True, into=run)
    assert caught.value.kind is kind, caught.value
    assert run.points == {}
    assert run.retries == []


def test_a_decoder_that_depends_on_the_processor_is_told_so(each: Lab) -> None:
    source = STORE.replace(
        IN_DECODER,
        "    x = np.linspace(-5, 5, 4096, dtype=np.float32)\n"
        "    wobble = np.uint8(np.tanh(x).view(np.uint32).sum() % 251)\n"
        "    wobble ^= np.uint8(np.exp(x).view(np.uint32).sum() % 251)\n" + IN_DECODER,
    ).replace("np.frombuffer(packet, np.uint8)", "np.frombuffer(packet, np.uint8) ^ wobble")
    if not np.show_config(mode="dicts")["SIMD Extensions"].get("found"):
        pytest.skip("this processor has no vector code to switch off")
    only = job()
    with pytest.raises(CandidateFailure, match="another processor") as caught:
        each.run(source, only, verify=True)
    assert caught.value.kind is FailureKind.NONDETERMINISTIC
    assert "plane y" in caught.value.message


def test_the_first_failure_ends_the_other_tasks_of_the_candidate(each: Lab) -> None:
    source = STORE.replace(
        IN_ENCODER,
        "    import time\n"
        "    if stream.width == 35: raise ValueError('odd sizes')\n"
        f"    time.sleep(30)\n{IN_ENCODER}",
    )
    run = Run()
    with pytest.raises(CandidateFailure, match="odd sizes"):
        each.run(source, job(), job("odd"), job(qp=31.0), job(qp=32.0), into=run)
    assert run.points == {}  # the others would have been measured if they had been waited for
    assert each.engine.busy() == 0
    each.run(STORE, job())


def test_a_killed_worker_costs_a_retry_and_not_the_candidate(
    lab: Lab, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, logger="evocodec.execution")
    run = Run()
    thread = threading.Thread(
        target=lambda: lab.run(slowly(1.5), job(), name="c0666", into=run), daemon=True
    )
    thread.start()
    worker = psutil.Process(wait_for_worker(caplog, "c0666/even/q30"))
    wait_for(lambda: len(worker.children(recursive=True)) >= 2)  # the fork server, and a job
    sandboxed = worker.children(recursive=True)
    worker.kill()
    thread.join(30)
    assert [(task, retry) for task, retry, _ in run.retries] == [("c0666/even/q30/encode", 1)]
    assert run.points[job()].quality.psnr_y_db == 100.0
    _, alive = psutil.wait_procs(sandboxed, timeout=30)
    assert alive == []
    assert capfd.readouterr().out == ""  # where --json goes


def reported_workers(caplog: pytest.LogCaptureFixture, task: str) -> list[int]:
    return [
        int(str(record.args[2]))
        for record in list(caplog.records)
        if isinstance(record.args, tuple) and record.args[:1] == (task,)
    ]


def wait_for_worker(caplog: pytest.LogCaptureFixture, task: str) -> int:
    """The process id of the worker that a task reported from."""
    found: list[int] = []

    def look() -> list[int]:
        found.extend(reported_workers(caplog, task))
        return found

    wait_for(look)
    return found[0]


def test_a_worker_that_hangs_is_given_up_at_our_own_deadline(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "PATIENCE", 1.0)  # how much longer a busy machine may take
    caplog.set_level(logging.DEBUG, logger="evocodec.execution")
    run = Run()
    thread = threading.Thread(
        target=lambda: lab.run(slowly(1.0), job(), name="c0667", into=run), daemon=True
    )
    thread.start()
    worker = psutil.Process(wait_for_worker(caplog, "c0667/even/q30"))
    worker.suspend()
    try:
        thread.join(80)
    finally:
        with suppress(psutil.NoSuchProcess):  # where Ray has killed it meanwhile
            worker.resume()
    assert [reason for _, _, reason in run.retries] == ["no answer within 20 s"]
    assert len(run.points) == 1
    worker.wait(10)  # a cancelled worker does not come back to take a slot


def test_a_job_lost_too_often_is_an_infrastructure_failure(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="evocodec.execution")
    killed: set[int] = set()
    done = threading.Event()

    def killer() -> None:
        while not done.wait(0.05):
            for pid in set(reported_workers(caplog, "c0668/even/q30")) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=killer)
    thread.start()
    run = Run()
    try:
        with pytest.raises(InfrastructureFailure, match="lost 3 times") as caught:
            lab.run(slowly(4), job(), name="c0668", into=run)
    finally:
        done.set()
        thread.join()
    assert "c0668/even/q30/encode" in str(caught.value)
    assert [retry for _, retry, _ in run.retries] == [1, 2]
    assert run.points == {}


def test_candidates_of_several_threads_share_the_slots(each: Lab) -> None:
    runs = {name: Run() for name in ("c0010", "c0011")}
    threads = [
        threading.Thread(
            target=lambda name=name, run=run: each.run(
                slowly(0.5), *(job(qp=qp) for qp in (1.0, 2.0, 3.0)), name=name, into=run
            )
        )
        for name, run in runs.items()
    ]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, each.engine.busy())
        time.sleep(0.01)
    assert all(len(run.points) == 3 for run in runs.values())
    assert most == each.engine.slots() == 2


def test_a_stop_ends_tasks_at_once_and_says_it_was_no_failure(each: Lab) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    run = Run()
    with pytest.raises(Interrupted):
        each.run(slowly(5), *(job(qp=qp) for qp in (1.0, 2.0, 3.0)), stop=stop, into=run)
    assert run.points == {}
    assert each.engine.busy() == 0
    each.run(STORE, job())


def test_tasks_can_be_found_by_candidate_clip_and_rate(lab: Lab) -> None:
    from ray.util.state import list_tasks

    only = job("odd", qp=33.5)
    lab.run(STORE, only, name="c0042", verify=True)
    wanted = {f"c0042/odd/q33.5/{step}" for step in ("encode", "decode", "verify")}

    def names() -> bool:
        tasks = list_tasks(address=f"http://{lab.info.dashboard_url}", limit=1000)
        return wanted <= {task.name for task in tasks}

    wait_for(names)


def test_a_local_cluster_listens_on_loopback_only(lab: Lab) -> None:
    assert lab.info.own
    assert lab.info.address.startswith("127.0.0.1:")
    ours = psutil.Process()
    outside = [
        connection.laddr
        for process in (ours, *ours.children(recursive=True))
        for connection in listening(process)
        if not connection.laddr.ip.removeprefix("::ffff:").startswith("127.")
        and connection.laddr.ip != "::1"
    ]
    assert outside == []


def listening(process: psutil.Process) -> list[Any]:
    """Sockets that wait for connections; none of a process that has just ended."""
    with suppress(psutil.NoSuchProcess):
        connections = process.net_connections("inet")
        return [each for each in connections if each.status == psutil.CONN_LISTEN]
    return []


def test_the_report_of_isolation_comes_from_a_worker(each: Lab) -> None:
    assert each.info.isolation.missing_for(default_policy().floor) == ()
    assert each.info.cpus == 2.0


OTHER = """
    import json, sys
    sys.path.insert(0, {root!r})
    from tests.integration.test_engine import *  # noqa
    engine = ray_engine(options({changes}))
    info = engine.start()
    engine.put_clip(ODD)
    run = Lab(engine, info).run(STORE, job("odd"), name="c0099")
    engine.close()
    print(json.dumps([info.own, info.address, len(run.points)]))
"""


def other_process(tmp_path: Path, changes: str) -> tuple[bool, str, int]:
    """Run a job with an engine of another process."""
    script = tmp_path / "other.py"
    root = str(Path(__file__).resolve().parents[2])
    script.write_text(textwrap.dedent(OTHER).format(root=root, changes=changes))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    own, address, points = json.loads(done.stdout)  # and nothing else on stdout
    return own, address, points


def test_another_controller_can_join_the_cluster_and_leave_it_running(
    lab: Lab, tmp_path: Path
) -> None:
    changes = f"address={lab.info.address!r}, local_cpus=None"
    assert other_process(tmp_path, changes) == (False, lab.info.address, 1)
    assert len(lab.run(STORE, job()).points) == 1


def test_two_local_clusters_on_one_machine_do_not_meet(lab: Lab, tmp_path: Path) -> None:
    own, address, points = other_process(tmp_path, "")
    assert (own, points) == (True, 1)
    assert address != lab.info.address
    assert len(lab.run(STORE, job()).points) == 1


def test_one_process_has_one_engine_at_a_time(lab: Lab) -> None:
    with pytest.raises(InfrastructureFailure, match="one engine at a time"):
        ray_engine(options()).start()
    assert len(lab.run(STORE, job()).points) == 1


@pytest.mark.parametrize(
    "engine",
    [ray_engine(options()), ray_engine(options(address="127.0.0.1:1")), local_engine(options())],
    ids=["ray", "joined", "local"],
)
def test_an_engine_that_is_not_running_says_so(engine: Engine) -> None:
    with pytest.raises(InfrastructureFailure, match=r"start\(\) comes first"):
        engine.put_clip(ODD)
    engine.close()
    engine.close()


def kill_fork_servers() -> None:
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # or a zombie, of which Ray leaves some
            if "evocodec.guest.server" in " ".join(child.cmdline()):
                child.kill()


def test_a_local_job_whose_fork_servers_die_is_an_infrastructure_failure(local_lab: Lab) -> None:
    done, run = threading.Event(), Run()

    def killer() -> None:
        while not done.wait(0.02):
            kill_fork_servers()

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        with pytest.raises(InfrastructureFailure, match="lost 3 times"):
            local_lab.run(slowly(4), job(), into=run)
    finally:
        done.set()
        thread.join()
    assert [retry for _, retry, _ in run.retries] == [1, 2]
    assert len(local_lab.run(STORE, job()).points) == 1


def test_a_local_engine_leaves_no_process_and_no_thread_behind() -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    threads = set(threading.enumerate())
    engine = local_engine(options())
    lab = Lab(engine, engine.start())
    engine.put_clip(EVEN)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Interrupted):
        lab.run(slowly(5), job(), stop=stop)
    engine.close()
    assert set(threading.enumerate()) <= threads
    after = {process.pid for process in psutil.Process().children(recursive=True)}
    assert after <= before


FLOATS = """
import hashlib, warnings
warnings.simplefilter("error")
import cv2, numpy as np
x = np.linspace(-5, 5, 65536, dtype=np.float32)
results = np.exp(x), np.tanh(x), cv2.GaussianBlur(x.reshape(256, 256), (11, 11), 1.5)
print(hashlib.sha256(b"".join(r.tobytes() for r in results)).hexdigest())
"""


def test_the_emulated_processor_changes_float_results_and_warns_of_nothing() -> None:
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        pytest.skip("only x86 processors are emulated")
    if not np.show_config(mode="dicts")["SIMD Extensions"].get("found"):
        pytest.skip("this processor has no vector code to switch off")

    def digest(**extra: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", FLOATS],
            env={"PATH": os.environ["PATH"], **extra},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout

    assert digest() == digest()
    assert digest(**emulated_processor()) != digest()


def test_what_is_nearest_to_an_adoption_goes_first(
    each: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "evocodec.execution.dispatch")
    stop = threading.Event()
    many = [RateJob(Stage.FULL, "even", 3, qp) for qp in range(20, 32)]

    def measure_many() -> None:
        with suppress(Interrupted):
            each.run(slowly(0.1), *many, name="c0001", stop=stop, verify=True)

    other = threading.Thread(target=measure_many)
    other.start()
    try:
        wait_for(lambda: each.engine.busy() == 2)
        each.run(STORE, RateJob(Stage.HELD_OUT, "even", 3, 30.0), name="c0002", verify=True)
        began = [record.getMessage().partition(" ")[0] for record in caplog.records]
    finally:
        stop.set()
        other.join()
    before = began[: began.index("c0002/even/q30/verify")]
    encodes = [name for name in before if name.startswith("c0001") and name.endswith("encode")]
    # In the order in which they were submitted, all twelve would have come first.
    assert 2 <= len(encodes) < len(many), began
