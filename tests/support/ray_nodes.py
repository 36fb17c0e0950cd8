"""A Ray cluster of separate nodes on this machine, each started as a pod's container starts it.

Every node is a ``ray start --block`` with an address of its own (127.0.0.x, or in a network
namespace) and a folder of its own. A keeper starts again what ended, as the kubelet does.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

TOKEN = "chaos-" + "0123456789abcdef" * 3
PATIENCE: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    # A minute by default: how long a node or a driver waits for a head that is gone.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}
# As the chart has it.
CHART: Mapping[str, str] = {"RAY_grpc_client_keepalive_timeout_ms": "20000"}
_RAY = Path(sys.executable).parent / "ray"
_BUSY = 3.0  # how much longer things may take where much else goes on


def wait_for(condition: Callable[[], T], seconds: float) -> T:
    """What the condition gives once that is true; ``seconds`` are enough on an idle machine."""
    limit = _BUSY * seconds
    until = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {limit:g} s"
        time.sleep(0.1)
    return found


@dataclass
class Node:
    """One container; ``stay_dead`` keeps the keeper off."""

    name: str
    command: list[str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    stay_dead: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)  # the keeper's and a test's

    def start(self) -> None:
        with self.lock, (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **PATIENCE, **CHART},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_if_ended(self) -> None:
        with self.lock:
            ended = self.process is not None and self.process.poll() is not None
            if ended and not self.stay_dead:
                self.start()

    def tree(self) -> list[psutil.Process]:
        if self.process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def kill(self) -> None:
        """All its processes at once, as when the machine is gone."""
        with self.lock:
            self._kill()

    def _kill(self) -> None:
        tree = self.tree()
        freeze(tree)  # or the first to die has the others do something about it
        _signal(tree, signal.SIGKILL)
        psutil.wait_procs(tree, timeout=10)
        if self.process is not None:
            self.process.wait(10)

    def node_id(self) -> str:
        """What Ray calls it."""
        for process in self.tree():
            for argument in process.cmdline():
                if argument.startswith(("--node_id=", "--node-id=")):
                    return argument.partition("=")[2]
        raise AssertionError(f"{self.name} does not run")

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that run a task of a candidate now."""
        return [process for process in self.tree() if _title(process).startswith("ray::c")]

    def idle_workers(self) -> list[psutil.Process]:
        """Its worker processes that wait for a task."""
        return [process for process in self.tree() if _title(process) == "ray::IDLE"]


@dataclass
class Nodes:
    """The cluster; ``address`` is the head's."""

    address: str
    root: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)

    def add(
        self, name: str, ip: str, *options: str, cpus: int = 0, namespace: str | None = None
    ) -> Node:
        folder = self.root / name
        folder.mkdir()
        host, port = self.address.split(":")
        place = ["--head", f"--port={port}", "--include-dashboard=false", "--no-monitor"]
        command = [
            *(["ip", "netns", "exec", namespace] if namespace else []),
            *(str(_RAY), "start", "--block", "--disable-usage-stats"),
            *(place if name == "head" else [f"--address={host}:{port}"]),
            *(f"--node-ip-address={ip}", f"--temp-dir={folder}", f"--num-cpus={cpus}"),
            *(f"--object-store-memory={80 << 20}", "--include-log-monitor=false"),
            *(options or ("--num-gpus=0",)),
        ]
        node = self.nodes[name] = Node(name, command, folder)
        node.start()
        return node

    def add_worker(self, name: str, ip: str, *, namespace: str | None = None) -> Node:
        """A worker with one slot: a pretended GPU, and one sandbox."""
        resources = json.dumps({"sandbox": 1})
        options = ("--num-gpus=1", f"--resources={resources}")
        return self.add(name, ip, *options, cpus=2, namespace=namespace)

    def drain(self, name: str) -> None:
        """Give notice that a node will go, as a spot instance's handler does."""
        subprocess.run(
            [
                *(str(_RAY), "drain-node", f"--address={self.address}"),
                *(f"--node-id={self.nodes[name].node_id()}", "--reason-message=spot"),
                *("--reason=DRAIN_NODE_REASON_PREEMPTION", "--deadline-remaining-seconds=60"),
            ],
            env={**os.environ, **PATIENCE},
            check=True,
            timeout=60,
            capture_output=True,
        )

    def keep(self) -> None:
        """Start again what ended, until the cluster closes."""
        while not self.closing.wait(0.5):
            for node in tuple(self.nodes.values()):
                node.start_if_ended()

    def close(self) -> None:
        self.closing.set()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Node.kill, self.nodes.values()))
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def ray_nodes(head_ip: str, *, driver: bool = True) -> Iterator[Nodes]:
    """A head, and a node without resources for the ``driver``, as beside the controller."""
    with socket.socket() as probe:
        probe.bind((head_ip, 0))
        port = probe.getsockname()[1]
    # Short: the path of a Unix socket ends at 107 bytes.
    nodes = Nodes(f"{head_ip}:{port}", Path(tempfile.mkdtemp(prefix="evn", dir="/tmp")))
    keeper = threading.Thread(target=nodes.keep, daemon=True)
    try:
        nodes.add("head", head_ip)
        wait_for(lambda: _answers(head_ip, port), 60)
        if driver:
            nodes.add("driver", head_ip)
        keeper.start()
        yield nodes
    finally:
        nodes.closing.set()
        if keeper.ident is not None:
            keeper.join()
        nodes.close()


@contextmanager
def namespace(name: str, outside_ip: str, inside_ip: str) -> Iterator[str]:
    """A network namespace behind a cable; yields the cable's outer end, which can be cut."""
    outer, inner = f"{name}o", f"{name}i"
    within = ["ip", "netns", "exec", name]
    steps = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name],
        ["ip", "address", "add", f"{outside_ip}/30", "dev", outer],
        ["ip", "link", "set", outer, "up"],
        [*within, "ip", "link", "set", "lo", "up"],
        [*within, "ip", "address", "add", f"{inside_ip}/30", "dev", inner],
        [*within, "ip", "link", "set", inner, "up"],
    ]
    try:
        for step in steps:
            subprocess.run(step, check=True, capture_output=True, timeout=10)
        yield outer
    finally:
        for step in (["ip", "link", "del", outer], ["ip", "netns", "del", name]):
            subprocess.run(step, check=False, capture_output=True, timeout=10)


def cut(cable: str, *, again: bool = False) -> None:
    """Cut a cable, or mend it ``again``."""
    state = "up" if again else "down"
    subprocess.run(["ip", "link", "set", cable, state], check=True, timeout=10)


def freeze(processes: Iterable[psutil.Process]) -> None:
    """Let processes hang with their connections open, as on a machine that is out of memory."""
    _signal(processes, signal.SIGSTOP)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return (process.cmdline() or [""])[0]
    return ""


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False
