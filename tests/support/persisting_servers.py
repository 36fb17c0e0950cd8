"""Servers that keep what they are given on disk, and that can be killed: for what must survive.

DynamoDB Local comes under AWS's own licence, which asks for an AWS account, so nobody gets it
unasked: EVOCODEC_DYNAMODB_LOCAL names a folder with DynamoDBLocal.jar, or says ``fetch``; then
npm brings it into the user's cache folder, once. It is never part of this repository.
"""

import hashlib
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
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.support.loopback_only import serve

VARIABLE = "EVOCODEC_DYNAMODB_LOCAL"
_PACKAGE = "amplify-dynamodb-simulator@2.9.30"
_PACKAGE_SHA256 = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9"
_FETCH_SECONDS = 120.0
_START_SECONDS = 60.0
_SETTLE_SECONDS = 0.3


@dataclass
class Server:
    """A server that can be killed and started again on the same data, at the same address."""

    url: str
    command: Callable[[], "subprocess.Popen[bytes]"]
    answers: Callable[[], bool]
    door: "Door | None" = None
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        self.process = self.command()
        if self.door is not None:
            self.door.open()
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server at {self.url} did not start")
            time.sleep(0.1)

    def kill(self) -> None:
        """Without a word, with all its processes; what it has promised to keep it keeps."""
        if self.door is not None:
            self.door.shut()
            time.sleep(_SETTLE_SECONDS)
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Door:
    """The only way to a server: an address on loopback that leads to a Unix socket.

    DynamoDB Local answers some 20 ms before it has written, so that killing it loses what it has
    acknowledged, as DynamoDB never does. So the door is shut first: who waits for an answer gets
    none, whether the request was carried out or not, and what was answered is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()  # between letting one in and shutting
        self._inside: list[socket.socket] = []
        self._shut = False
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=serve, args=(self._listener, self._enter), daemon=True).start()

    def open(self) -> None:
        with self._lock:
            self._shut = False

    def shut(self) -> None:
        """Cut all connections, and let nobody in."""
        with self._lock:
            self._shut = True
            for far in self._inside:
                with suppress(OSError):
                    far.shutdown(socket.SHUT_RDWR)
            self._inside.clear()

    def close(self) -> None:
        self.shut()
        self._listener.close()

    def _enter(self) -> socket.socket:
        far = socket.socket(socket.AF_UNIX)
        try:
            with self._lock:
                if self._shut:
                    raise ConnectionRefusedError("the door is shut")
                far.connect(str(self._path))
                self._inside.append(far)
        except OSError:
            far.close()
            raise
        return far


@contextmanager
def dynamodb_local(folder: Path) -> Iterator[Server]:
    """DynamoDB Local with its data in the folder; skips where it cannot be had."""
    jar = _jar()
    java = shutil.which("java")
    if java is None:
        pytest.skip("DynamoDB Local needs java")
    alone = _network_of_its_own()
    data, path = folder / "dynamodb", folder / "dynamodb.socket"
    data.mkdir(parents=True, exist_ok=True)
    # It lives for seconds: half of its start went into compiling for hours.
    quick = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
    engine = [java, *quick, f"-Djava.library.path={jar.parent}/DynamoDBLocal_lib"]
    engine += ["-jar", str(jar), "-port", "8000", "-dbPath", str(data), "-sharedDb"]
    engine += ["-disableTelemetry"]
    script = str(Path(__file__).with_name("loopback_only.py"))

    def command() -> "subprocess.Popen[bytes]":
        path.unlink(missing_ok=True)
        words = [*alone, sys.executable, script, str(path), "8000", *engine]
        return _quiet(words, data)

    with closing(Door(path)) as door:
        yield from _running(Server(door.url, command, lambda: _answers(door.url), door))


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


def _network_of_its_own() -> list[str]:
    """The words that start a command in one, by right or by a user namespace."""
    unshare = shutil.which("unshare")
    for options in ("-n", "-rn") if unshare else ():
        words = [str(unshare), options]
        if subprocess.run([*words, "true"], check=False, capture_output=True).returncode == 0:
            return words
    pytest.skip("DynamoDB Local listens on all interfaces, and `unshare -n` does not work here")


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
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evocodec-tests"
    folder = root / _PACKAGE.replace("@", "-")
    jar = folder / "package" / "emulator" / "DynamoDBLocal.jar"
    if not jar.is_file():
        problem = fetch(folder)
        if problem:
            pytest.skip(f"DynamoDB Local could not be fetched: {problem}")
    return jar


@cache  # where it fails it fails slowly, and every test would ask again
def fetch(folder: Path) -> str:
    """Bring the package into that folder, whole or not at all; returns what went wrong."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm, which brings it, is not installed"
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        command = [npm, "pack", _PACKAGE, "--loglevel=error", "--pack-destination", str(partial)]
        command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_FETCH_SECONDS
        )
        if done.returncode:
            return f"npm says {' '.join(done.stderr.split())[:200] or done.returncode}"
        return _unpack(partial, folder)
    except subprocess.TimeoutExpired:
        return f"npm did not bring it within {_FETCH_SECONDS:g} s"
    except OSError as error:
        return str(error)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpack(partial: Path, folder: Path) -> str:
    (archive,) = partial.glob("*.tgz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != _PACKAGE_SHA256:
        return f"{_PACKAGE} has SHA-256 {found}, not {_PACKAGE_SHA256}"
    with tarfile.open(archive) as packed:
        packed.extractall(partial, filter="data")
    archive.unlink()
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    return ""
