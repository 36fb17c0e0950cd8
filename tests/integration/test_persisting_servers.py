"""Servers that tests kill: they keep what they answered, are fetched safely, and stay inside."""

import hashlib
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from evocodec.domain.events import CandidateOpened
from tests.support import persisting_servers
from tests.support.aws_servers import aws_environment, dynamo_ledger
from tests.support.persisting_servers import Server, dynamodb_local, fetch, localbucket
from tests.support.sandbox_jobs import until


def fake_npm(folder: Path, *lines: str) -> None:
    npm = folder / "npm"
    npm.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched first for commands; nothing else has npm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    return folder


def skipped_because(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv(persisting_servers.VARIABLE, "fetch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(pytest.skip.Exception) as skip, dynamodb_local(tmp_path):
        pass
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    return str(skip.value)


def test_no_npm_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "npm, which brings it, is not installed" in skipped_because(monkeypatch, tmp_path)


def test_no_network_skips(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tools, "echo getaddrinfo EAI_AGAIN >&2", "exit 1")
    assert "npm says getaddrinfo EAI_AGAIN" in skipped_because(monkeypatch, tmp_path)


def test_a_network_that_hangs_skips(
    tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tools, "exec sleep 60")
    monkeypatch.setattr(persisting_servers, "_FETCH_SECONDS", 0.5)
    assert "did not bring it within 0.5 s" in skipped_because(monkeypatch, tmp_path)


def test_another_archive_is_not_unpacked(
    tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tools, "printf other > $5/simulator.tgz")
    found = hashlib.sha256(b"other").hexdigest()
    assert f"has SHA-256 {found}, not" in skipped_because(monkeypatch, tmp_path)


def test_a_folder_that_cannot_be_written_skips(tmp_path: Path, tools: Path) -> None:
    fake_npm(tools, "exit 0")
    (tmp_path / "file").touch()
    assert "Not a directory" in fetch(tmp_path / "file" / "folder")


@pytest.fixture(scope="module")
def dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with dynamodb_local(tmp_path_factory.mktemp("dynamodb")) as server:
        yield server


def listening(server: Server) -> set[str]:
    """The addresses on which its processes listen in the network that we are in."""
    assert server.process is not None
    root, own = psutil.Process(server.process.pid), Path("/proc/self/ns/net").readlink()
    return {
        connection.laddr.ip
        for process in (root, *root.children(recursive=True))
        if Path(f"/proc/{process.pid}/ns/net").readlink() == own
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_dynamodb_local_listens_nowhere_in_our_network(dynamodb: Server) -> None:
    assert listening(dynamodb) == set()
    assert dynamodb.url.startswith("http://127.0.0.1:")


def test_localbucket_listens_on_loopback_only(tmp_path: Path) -> None:
    with localbucket(tmp_path) as server:
        assert listening(server) == {"127.0.0.1"}


def test_what_dynamodb_local_answered_is_there_after_it_was_killed(dynamodb: Server) -> None:
    with aws_environment():
        ledger = dynamo_ledger(dynamodb.url, "ledger")
        recorded: dict[str, list[int]] = {f"run-{number}": [] for number in range(4)}
        killed = threading.Event()

        def record(run_id: str) -> None:
            while not killed.is_set():
                number = len(recorded[run_id])
                event = CandidateOpened(
                    run_id=run_id, at="", candidate_id=f"c{number}", parent_id="", number=number
                )
                if ledger.record(event):
                    recorded[run_id].append(number)

        with ThreadPoolExecutor() as pool:
            writing = [pool.submit(record, run_id) for run_id in recorded]
            until(lambda: all(len(numbers) >= 20 for numbers in recorded.values()))
            dynamodb.kill()
            killed.set()
            dynamodb.start()
        for one in writing:
            one.result()
        every = list(recorded.items())
        assert every
        for run_id, numbers in every:
            assert numbers
            assert [one.candidate_id for _, one in ledger.events(run_id)] == [
                f"c{number}" for number in numbers
            ]
