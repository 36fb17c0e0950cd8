"""CPU time that the controller spends on one more candidate, for a toy program and a real one.

A run of the product's own command line: its graph, ledger, Git repository, Ray and model client.
Only what costs a worker is replaced: tasks sleep and give plausible points, and a chat server on
loopback, in a process of its own, answers at once with the program and one integer changed.

``python -m benchmarks.bench_controller`` prints both rows, with eight Ray workers; ``--threads``
has the tasks sleep in threads of the controller instead, which a machine of two cores bears better.
``--tree`` measures another checkout, so that two of them can be compared in turns on the same hour.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bench_sandbox import Row, markdown

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / "tests" / "data" / "toy_codec.py"
SLOTS = 8
WARM, REST = 12, 6  # candidates at the beginning and at the end that are not counted
CANDIDATES = {"toy": 90, "inter": 50}
SLEEP_SECONDS = {"smoke": 0.1, "screen": 0.9}
THREADS = "EVOCODEC_BENCH_THREADS"  # set for the child: threads in place of Ray
_INTEGER = re.compile(r"^(?P<name>[A-Z_]+) = (?P<value>\d+)(?=$| +#(?! evolve))", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of the processes of a run so far."""

    python: float  # the controller's own threads
    ray_threads: float  # threads of Ray's library in the controller
    git: float  # and whatever else it started and has waited for
    parsers: float


# -- the chat server -------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, program: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.program = program
        self.count = 0
        self.lock = threading.Lock()

    def answer(self, prompt: str) -> str:
        """What each role is told; every program differs from every other by an integer."""
        if "You review one Python program" in prompt:
            return json.dumps({"findings": []})
        if "You plan the next experiment" in prompt:
            return json.dumps({"hypothesis": "Another integer.", "steps": ["Change it."]})
        with self.lock:
            self.count += 1
            number = self.count
        found = _INTEGER.search(self.program)
        assert found is not None
        changed = f"{found['name']} = {int(found['value']) + number}"
        program = self.program.replace(found[0], changed, 1)
        return f"Here it is.\n\n```python\n{program}\n```\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = self.server.answer("\n".join(str(m["content"]) for m in asked["messages"]))
        message = {"role": "assistant", "content": text}
        body = json.dumps(
            {
                "id": "bench",
                "object": "chat.completion",
                "created": 1,
                "model": "bench",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(program: Path) -> None:
    server = _Server(program.read_text())
    print(server.server_address[1], flush=True)
    server.serve_forever()


# -- the run ---------------------------------------------------------------------------------------


def run(arguments: Sequence[str]) -> None:
    """The command line, with eight processors and with tasks that sleep."""
    from evocodec.cli.main import entry
    from evocodec.execution import tasks

    os.cpu_count = lambda: SLOTS
    if THREADS in os.environ:
        from evocodec.app import runner
        from evocodec.execution.engine import local_engine

        vars(runner)["ray_engine"] = local_engine
    for name in ("encode_task", "decode_task", "verify_task"):
        setattr(tasks, name, globals()[f"sleeping_{name}"])  # where older trees look
        for step in vars(tasks).get("TASKS", ()):
            if name == f"{step}_task":
                tasks.TASKS[step] = globals()[f"sleeping_{name}"]
    sys.argv = ["evocodec", *arguments]
    entry()


def _started() -> Any:
    from evocodec.execution import messages

    names = vars(messages)
    started = names.get("TaskStarted") or names["Began"]  # what older trees call it
    return started(os.getpid(), "bench")


def _use() -> Any:
    """Resource use of a process; its type differs between the measured trees."""
    from evocodec.sandbox import launcher

    return vars(launcher)["ResourceUse"](0.1, 0.1, 1 << 20)


def sleeping_encode_task(frames: Any, program: str, spec: Any) -> Iterator[Any]:
    from evocodec.execution.messages import Encoded

    yield _started()
    frames_wanted = spec.stream.frame_count
    time.sleep(SLEEP_SECONDS["smoke" if frames_wanted <= 3 else "screen"])
    yield Encoded(_use())
    yield (b"packet",)


def sleeping_decode_task(
    frames: Any, program: str, packets: Any, use: Any, spec: Any
) -> Iterator[Any]:
    import hashlib

    from evocodec.domain.results import Cost, Quality, RatePoint
    from evocodec.execution.messages import Decoded, Scored

    yield _started()
    yield Decoded("0" * 64)
    digest = hashlib.sha256(program.encode()).digest()
    db = 52.0 - 0.5 * spec.qp
    # Worse than the start by 30 to 40 %: the screen ends it.
    worse = 1.0 if spec.stream.frame_count == 8 else 1.3 + digest[0] / 2560
    bits = round(worse * 400_000 * 2.0 ** (-spec.qp / 6) * spec.stream.frame_count)
    quality = Quality(db, db, db, db, 0.9, db - 1)
    cost = Cost(0.1, 0.1, 0.1, 0.1, 1 << 20, spec.stream.frame_count)
    yield Scored(RatePoint(spec.clip, spec.qp, bits, spec.stream.frame_count, quality, cost, ""))


def sleeping_verify_task(program: str, packets: Any, digest: str, spec: Any) -> Iterator[Any]:
    from evocodec.execution.messages import Verified

    yield _started()
    yield Verified()


# -- the measurement -------------------------------------------------------------------------------


def controller_rows(
    tree: Path = ROOT, *, threads: bool = False, counts: Mapping[str, int] = CANDIDATES
) -> list[Row]:
    """Both programs, one after the other."""
    rows = []
    for name, count in counts.items():
        program = TOY if name == "toy" else _seed()
        spent, seconds, counted = measure(program, count, tree, threads=threads)
        ms = 1e3 / counted
        asleep = counted * sum(SLEEP_SECONDS.values())
        rows.append(
            Row(
                f"controller CPU a candidate, {name} ({program.stat().st_size >> 10} KB)",
                f"{ms * spent.python:.0f} ms",
                f"Ray's threads {ms * spent.ray_threads:.0f}, Git {ms * spent.git:.0f}, parsers "
                f"{ms * spent.parsers:.0f} ms; {60 * counted / seconds:.0f} candidates a minute, "
                f"{SLOTS} slots {asleep / seconds / SLOTS:.0%} busy with tasks that sleep 1 s a "
                f"candidate, instant model; {'threads' if threads else 'Ray'}",
            )
        )
    return rows


def measure(
    program: Path, candidates: int, tree: Path, *, threads: bool
) -> tuple[Spent, float, int]:
    """CPU and wall seconds between two candidates of one run, and how many lie between them."""
    with tempfile.TemporaryDirectory() as folder, _chat_server(program) as port:
        workspace = Path(folder)
        arguments = _arguments(workspace, program, candidates, port)
        log = workspace.with_suffix(".log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, __file__, "--as-run", *arguments],
                stdout=output,
                stderr=output,
                env=_environment(tree) | ({THREADS: "1"} if threads else {}),
            )
        try:
            begun, first = _when_closed(process, workspace, WARM)
            ended, last = _when_closed(process, workspace, candidates - REST)
            process.wait(120)
        except BaseException:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            log.unlink()
    spent = [after - before for after, before in zip(*map(_fields, (last, first)), strict=True)]
    return Spent(*spent), ended - begun, candidates - REST - WARM


def _environment(tree: Path) -> dict[str, str]:
    """The measured tree comes first; what it lacks of the benchmarks comes from here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(tree), str(ROOT)]))}


def _fields(spent: Spent) -> tuple[float, ...]:
    return (spent.python, spent.ray_threads, spent.git, spent.parsers)


def _arguments(workspace: Path, program: Path, candidates: int, port: int) -> list[str]:
    from evocodec.video.clips import default_clips

    settings = {
        "run.program": program,
        "run.slots": SLOTS,
        "ray.cpus_per_task": 1,
        "model.base_url": f"http://127.0.0.1:{port}/v1",
        "model.model": "bench",
        "evaluation.clips": json.dumps([f"{default_clips()[0].path}@0-8:96x80"]),
        "evaluation.screen_frames": 4,
        "evaluation.chroma_margin_db": 90,
        "held_out.enabled": "false",
    }
    flags = [f"--set={name}={value}" for name, value in settings.items()]
    return ["-w", str(workspace), "run", "--plain", "--minutes=20", f"--candidates={candidates}",
            *flags]  # fmt: skip


def _when_closed(
    process: subprocess.Popen[bytes], workspace: Path, count: int
) -> tuple[float, Spent]:
    """Wait until so many candidates are closed."""
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"the run ended with exit code {process.returncode}")
        spent, now = _spent(process.pid), time.monotonic()
        if _closed(workspace) >= count:
            return now, spent
        time.sleep(0.05)


def _closed(workspace: Path) -> int:
    import sqlite3

    path = workspace / "ledger.sqlite"
    if not path.exists():
        return 0
    with suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            query = "select count(*) from events where kind = 'candidate_closed'"
            return int(connection.execute(query).fetchone()[0])
        finally:
            connection.close()
    return 0


def _spent(pid: int) -> Spent:
    """Python's threads have their process's name; Ray's have names of their own."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    ticks = os.sysconf("SC_CLK_TCK")
    names = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            name, _, rest = task.joinpath("stat").read_text().partition(" (")[2].rpartition(") ")
            fields = rest.split()
            names[task.name] = (name, (int(fields[11]) + int(fields[12])) / ticks)
    own = names.get(str(pid), ("", 0.0))[0]
    ray = sum(seconds for name, seconds in names.values() if name != own)
    parsers = 0.0
    for child in process.children():
        with suppress(psutil.NoSuchProcess):
            if any("parser_process" in argument for argument in child.cmdline()):
                used = child.cpu_times()
                parsers += used.user + used.system
    return Spent(
        times.user + times.system - ray, ray, times.children_user + times.children_system, parsers
    )


@contextmanager
def _chat_server(program: Path) -> Iterator[int]:
    command = [sys.executable, __file__, "--as-server", str(program)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=_environment(ROOT)
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _seed() -> Path:
    return ROOT / "evocodec" / "codec" / "seeds" / "inter.py"  # also for an older tree


def main() -> None:
    if sys.argv[1:2] == ["--as-run"]:
        run(sys.argv[2:])
    elif sys.argv[1:2] == ["--as-server"]:
        serve(Path(sys.argv[2]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--threads", action="store_true", help="no Ray: tasks sleep in threads")
        parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to measure")
        parser.add_argument("--program", choices=CANDIDATES, help="this one only")
        asked = parser.parse_args()
        counts = {n: c for n, c in CANDIDATES.items() if asked.program in (None, n)}
        print(markdown(controller_rows(asked.tree, threads=asked.threads, counts=counts)))


if __name__ == "__main__":
    main()
