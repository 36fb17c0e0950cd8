"""What bubblewrap adds round the fork server, and what happens where it is missing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox.launcher import Launcher
from evocodec.sandbox.providers import bubblewrap
from evocodec.sandbox.providers.bubblewrap import BubblewrapLauncher
from tests.support.default_options import default_policy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is made of Linux")


@pytest.fixture(scope="module")
def inner_server() -> Iterator[psutil.Process]:
    """The first Python process inside bubblewrap, as seen from outside."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed (apt-get install bubblewrap)")
    trial = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    outcome = subprocess.run(trial, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        pytest.skip(f"bubblewrap may not work here: {outcome.stderr.strip()}")
    with BubblewrapLauncher(default_policy(), preload=()) as launcher:
        assert launcher.describe().holds(Layer.BUBBLEWRAP)
        family = psutil.Process(launcher.server_pid).children(recursive=True)
        yield next(process for process in family if process.name().startswith("python"))


@pytest.mark.parametrize("namespace", ["net", "pid", "mnt", "ipc", "uts", "user"])
def test_the_fork_server_itself_is_in_namespaces_of_its_own(
    inner_server: psutil.Process, namespace: str
) -> None:
    theirs = os.readlink(f"/proc/{inner_server.pid}/ns/{namespace}")
    assert theirs != os.readlink(f"/proc/self/ns/{namespace}")


def test_the_fork_server_sees_only_the_interpreter_and_the_libraries(
    inner_server: psutil.Process,
) -> None:
    root = Path(f"/proc/{inner_server.pid}/root")
    home = str(Path.home())
    for hidden in ("/etc/passwd", "/etc/hostname", "/usr/bin/env", "/var", f"{home}/.bashrc"):
        assert not (root / hidden[1:]).exists(), hidden
    repository = Path(__file__).resolve().parents[2]
    package = root / str(repository)[1:] / "evocodec"
    assert {path.name for path in package.iterdir()} <= {
        *("__init__.py", "__pycache__", "domain", "codec", "guest", "isolation")
    }
    assert (package / "guest/server.py").is_file()


def test_the_fork_server_can_gain_no_privilege_and_write_nowhere(
    inner_server: psutil.Process,
) -> None:
    text = Path(f"/proc/{inner_server.pid}/status").read_text(encoding="utf-8")
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert status["NoNewPrivs"] == "1"
    mounts = Path(f"/proc/{inner_server.pid}/mounts").read_text(encoding="utf-8").splitlines()
    writable = {line.split()[1] for line in mounts if line.split()[3].startswith("rw")}
    assert {place for place in writable if not place.startswith(("/dev", "/proc"))} == set()


def test_without_bubblewrap_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfrastructureFailure, match="apt-get install bubblewrap"):
        BubblewrapLauncher(default_policy())


def test_a_bubblewrap_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / bubblewrap.PROGRAM
    broken.write_text("#!/bin/sh\necho 'bwrap: no permissions to create namespaces' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    launcher: Launcher = BubblewrapLauncher(default_policy())
    with pytest.raises(InfrastructureFailure, match="no permissions to create namespaces"):
        launcher.describe()
    launcher.close()
