"""A real Prometheus on loopback, for tests."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Debian installs both in /usr/bin; neither is a dependency of ours.
WHY_SKIPPED = "prometheus is not installed: apt-get install prometheus"


def tool(name: str) -> str:
    """Where ``prometheus`` or ``promtool`` is; skips the test when it is nowhere."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(WHY_SKIPPED)
    return found


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Prometheus:
    """What a scraped server can be asked."""

    url: str

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result vector of an expression, now or ``at`` a time in epoch seconds."""
        moment = {} if at is None else {"time": f"{at:.3f}"}
        return list(self._ask("query", query=expression, **moment)["result"])

    def value(self, expression: str) -> float | None:
        """The value of an expression with one series; None when there is no data."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def names(self) -> frozenset[str]:
        """Every metric name that was ever scraped."""
        return frozenset(self._ask("label/__name__/values"))

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped, and how that went."""
        return list(self._ask("targets")["activeTargets"])

    def alerts(self) -> list[dict[str, Any]]:
        """The alerting rules that were loaded, with their state."""
        groups = self._ask("rules", type="alert")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait(self, expression: str, seconds: float = 60.0) -> float:
        """The value of an expression as soon as it has one."""
        until = time.monotonic() + seconds
        while (value := self.value(expression)) is None:
            assert time.monotonic() < until, f"no data for {expression}: {self.targets()}"
            time.sleep(0.1)
        return value

    def _ask(self, path: str, **words: str) -> Any:
        query = urllib.parse.urlencode(words)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as reply:
            answer = json.load(reply)
        assert answer["status"] == "success", answer
        return answer["data"]


@contextmanager
def prometheus(folder: Path, target: str, *, rules: Path | None = None) -> Iterator[Prometheus]:
    """A Prometheus that scrapes ``host:port`` twice a second, until the context ends."""
    program, port = tool("prometheus"), free_port()
    configuration = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [
            {"job_name": "evocodec", "static_configs": [{"targets": [target]}]},
        ],
    }
    file = folder / "prometheus.json.yml"  # JSON is YAML
    file.write_text(json.dumps(configuration))
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            server = Prometheus(f"http://127.0.0.1:{port}")
            _wait_until_ready(server, process, folder / "prometheus.log")
            yield server
        finally:
            process.kill()  # nobody reads its data again
            process.wait(20)


def _wait_until_ready(server: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{server.url}/-/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(log.read_text())
