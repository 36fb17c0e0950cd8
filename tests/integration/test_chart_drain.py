"""The hook of a worker's pod, run in a process namespace like a pod's, beside a real Ray node."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.test_ray_cluster import IN_ENCODER, STORE, load_on, start_engine
from tests.support import chart_tools as chart
from tests.support.ray_nodes import PATIENCE, Node, Nodes, ray_nodes, wait_for

# Longer than it takes to tell Ray that a node goes.
LASTING = STORE.replace(IN_ENCODER, f"    import time; time.sleep(1.5)\n{IN_ENCODER}")
POD = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    missing = [tool for tool in ("unshare", "nsenter") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install util-linux)")
    if subprocess.run([*POD, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not make a process namespace: run as root")


def hook(script: Path, *, seconds: str = "", address: str) -> list[str]:
    """Return what the kubelet would run, as far as it runs here."""
    objects = chart.render()
    cluster = chart.only(objects, "RayCluster")
    [worker] = cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in worker["volumeMounts"]}
    python, path, given, _ = worker["lifecycle"]["preStop"]["exec"]["command"]
    assert python == "/opt/evocodec/bin/python"
    assert Path(path).parent.as_posix() in mounts
    script.write_text(chart.only(objects, "ConfigMap", "-scripts")["data"][Path(path).name])
    return [sys.executable, str(script), seconds or given, address]


def start_pod(nodes: Nodes, name: str, ip: str) -> Node:
    """A worker with a process namespace of its own; it is not started again when it ends."""
    node = nodes.add_worker(name, ip)
    node.stay_dead = True
    node.kill()
    node.command[:0] = POD
    node.start()
    return node


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    for name, value in PATIENCE.items():
        monkeypatch.setenv(name, value)
    with ray_nodes("127.0.0.60") as cluster:
        cluster.add_worker("stays", "127.0.0.61")
        yield cluster


def test_a_worker_that_must_go_ends_what_it_does_and_nothing_is_done_twice(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.integration.test_ray_cluster.LASTING", LASTING)
    pod = start_pod(nodes, "goes", "127.0.0.62")
    engine = start_engine(nodes)
    try:
        wait_for(lambda: engine.slots() == 2, 60)
        with load_on(engine) as load:
            wait_for(pod.workers, 30)
            assert pod.process is not None
            [first] = psutil.Process(pod.process.pid).children()
            enter = ["nsenter", f"--target={first.pid}", "--pid", "--mount"]
            environment = os.environ | {"RAY_PROGRAM": str(Path(sys.executable).parent / "ray")}
            done = subprocess.run(
                [*enter, *hook(tmp_path / "drain.py", address=nodes.address)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert not pod.workers()
            pod.kill()
            load.more(1, 40)
        assert load.retries == []
    finally:
        engine.close()


_POD = """
import pathlib, subprocess, sys
raylet, *words = sys.argv[1:]
if raylet:
    asleep = [raylet, "-c", "import time; time.sleep(60)", "--node_id=ab12"]
    subprocess.Popen(asleep)
    while not any(b"ab12" in p.read_bytes() and b"raylet" in p.read_bytes().split(b"\\0")[0]
                  for p in pathlib.Path("/proc").glob("[0-9]*/cmdline")): pass
raise SystemExit(subprocess.run(words).returncode)
"""


@pytest.mark.parametrize(
    ("answer", "runs", "code", "told", "least_seconds"),
    [
        ("print(*sys.argv, file=open(LOG, 'w'))", True, 0, "--node-id=ab12", 2.0),
        ("print(*sys.argv, file=open(LOG, 'w'))", False, 0, "", 0.0),
        ("sys.exit('not accepted')", True, 1, "", 0.0),
        ("import time; time.sleep(60)", True, 1, "", 2.0),
    ],
    ids=["busy to the end", "Ray has ended", "refused", "no head"],
)
def test_the_hook_takes_no_longer_than_it_may(
    tmp_path: Path, answer: str, runs: bool, code: int, told: str, least_seconds: float
) -> None:
    ray, raylet, log = tmp_path / "ray", tmp_path / "raylet", tmp_path / "log"
    ray.write_text(f"#!{sys.executable}\nimport sys\nLOG = {str(log)!r}\n{answer}\n")
    ray.chmod(0o755)
    raylet.symlink_to(sys.executable)
    words = hook(tmp_path / "drain.py", seconds="2", address="head:6379")
    begin = time.monotonic()
    done = subprocess.run(
        [*POD, sys.executable, "-c", _POD, str(raylet) if runs else "", *words],
        env=os.environ | {"RAY_PROGRAM": str(ray)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert time.monotonic() - begin >= least_seconds  # and no 60 s, or it would have been killed
    heard = log.read_text() if log.exists() else ""
    assert told in heard
    assert bool(heard) == bool(told)
    if told:
        assert "--deadline-remaining-seconds=2" in heard


def test_the_pod_is_given_longer_than_its_hook() -> None:
    for seconds in (20, 120, 3600):
        words = chart.settings(ray__worker__terminationGracePeriodSeconds=seconds)
        group = chart.only(chart.render(*words), "RayCluster")["spec"]["workerGroupSpecs"][0]
        spec = group["template"]["spec"]
        allowed = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2])
        assert 0 < allowed <= spec["terminationGracePeriodSeconds"] - 15
    assert "terminationGracePeriodSeconds" in chart.refusal(
        *chart.settings(ray__worker__terminationGracePeriodSeconds=15)
    )
