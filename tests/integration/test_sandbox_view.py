"""What a job sees of the machine's files: with a root folder of its own, and without."""

import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox import server_process
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import NAMESPACES
from evocodec.sandbox.probe import probe
from tests.support.default_options import default_limits, default_policy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

EXISTS = """
import os
def encode(frames, stream, qp):
    for path in {paths!r}:
        try:
            os.stat(path)
            yield b"there"
        except OSError as error:
            yield str(error.errno).encode()
def decode(packets, stream):
    yield from ()
"""
LISTING = """
import os
def encode(frames, stream, qp):
    for path in {paths!r}:
        names = []
        if os.path.isdir(path):
            try:
                names = os.listdir(path)
            except PermissionError:
                names = ["?"]
        yield ",".join(sorted(names)).encode()
def decode(packets, stream):
    yield from ()
"""


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy(paths_open=True)) as running:
        if not running.describe().holds(Layer.PIVOT_ROOT):
            pytest.skip(f"no root folder of its own: {running.describe().layers['pivot_root']}")
        yield running


@pytest.fixture(scope="module", params=[("auto", "pivot_root"), ("pod", "path_broker")])
def hiding(request: pytest.FixtureRequest) -> Iterator[ForkServerLauncher]:
    mode, layer = request.param
    with ForkServerLauncher(default_policy(mode=mode, paths_open=True)) as running:
        if not (report := running.describe()).holds(layer):
            pytest.skip(f"{layer}: {report.layers[layer]}")
        yield running


def ask(launcher: ForkServerLauncher, template: str, paths: list[str]) -> list[bytes]:
    planes = (np.zeros((2, 2), np.uint8), *(np.zeros((1, 1), np.uint8) for _ in "uv"))
    stream = StreamInfo(2, 2, Fraction(30), 1)
    program = template.format(paths=paths)
    return list(launcher.encode(program, [Frame(*planes)], stream, 30.0, default_limits()).packets)


def test_stat_finds_nothing_but_what_may_be_read(
    hiding: ForkServerLauncher, tmp_path: Path
) -> None:
    secret = tmp_path / "key"
    secret.write_text("canary")
    hidden = [str(secret), "/etc/passwd", "/etc/hostname", "/root/.ssh", "/home", "/var", "/bin/sh"]
    hidden += ["/proc/self", "/proc/1", "/dev/shm", "/dev/mem", "/sys/class", sys.executable]
    hidden += [str(Path(__file__)), str(Path(__file__).parents[2] / ".git")]
    assert set(ask(hiding, EXISTS, hidden)) == {b"2"}
    assert set(ask(hiding, EXISTS, ["/dev/null", np.__file__, os.__file__])) == {b"there"}


def test_folders_on_the_path_list_only_what_may_be_imported(launcher: ForkServerLauncher) -> None:
    site_packages = str(Path(np.__file__).parents[1])
    (names,) = ask(launcher, LISTING, [site_packages])
    assert b"numpy" in names
    assert b"ray" not in names.split(b",")
    assert b"pytest" not in names.split(b",")


def test_the_machine_itself_keeps_its_files(launcher: ForkServerLauncher) -> None:
    """The new root, and the folder that it was put together on, are the fork server's alone."""
    ask(launcher, EXISTS, ["/"])
    assert Path("/etc/passwd").exists()
    assert "evocodec" not in Path("/proc/self/mounts").read_text(encoding="utf-8")
    mine = Path("/proc/self/ns/mnt").readlink()
    assert Path(f"/proc/{launcher.server_pid}/ns/mnt").readlink() == mine


def test_nothing_in_the_view_can_be_changed(launcher: ForkServerLauncher) -> None:
    """Under seccomp no program gets this far; the mounts themselves say it too."""
    inner = [
        path
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and _parent_of(path) == launcher.server_pid
    ]
    assert inner
    lines = (inner[0] / "mountinfo").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 10
    for line in lines:
        options = line.split()[5].split(",")
        assert {"ro", "nosuid"} <= set(options), line
        assert "nodev" in options or line.split()[4].startswith("/dev/"), line
        if os.getuid() == 0 and "tmpfs" not in line.split(" - ")[1].split()[0]:
            assert "noatime" in options, line


def _parent_of(process: Path) -> int:
    try:
        return int((process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return -1


def test_pod_mode_leaves_namespaces_out_and_meets_the_floor() -> None:
    report = probe(default_policy(mode="pod"))
    assert not any(report.holds(layer) for layer in NAMESPACES)
    assert report.missing_for(default_policy(mode="pod").required) == ()
    assert report.holds(Layer.LANDLOCK) == probe(default_policy()).holds(Layer.LANDLOCK)


def test_pod_mode_lists_no_folder_of_libraries_and_imports_them_all_the_same() -> None:
    program = """
import os
def encode(frames, stream, qp):
    import fractions, statistics, scipy.ndimage
    try:
        os.listdir({paths!r}[0])
    except PermissionError:
        yield b"refused"
def decode(packets, stream):
    yield from ()
"""
    with ForkServerLauncher(default_policy(mode="pod")) as launcher:
        if not launcher.describe().holds(Layer.LANDLOCK):
            pytest.skip("no Landlock here")
        assert ask(launcher, program, [str(Path(np.__file__).parents[1])]) == [b"refused"]


def test_namespaces_mode_refuses_to_run_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "import errno\nfrom evocodec.isolation import linux\n" + (
        "def unshare(flags): raise OSError(errno.EPERM, 'refused')\nlinux.unshare = unshare\n"
    )
    first, second, last = server_process._BOOT.split("; ", 2)
    monkeypatch.setattr(server_process, "_BOOT", "\n".join((first, second, lines + last)))
    with (
        ForkServerLauncher(default_policy(mode="namespaces")) as launcher,
        pytest.raises(InfrastructureFailure, match="pivot_root"),
    ):
        ask(launcher, EXISTS, ["/"])
