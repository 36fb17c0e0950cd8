"""Bubblewrap launcher: the fork server itself runs in a sandbox that bubblewrap builds.

Jobs have the same isolation layers as with the other provider. In addition, the fork server and
its libraries see no network, no other process and only the files that they need, and this outer
sandbox is independent code. The cost is paid once per fork server: see docs/sandbox-image.md.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.vocabulary import Layer
from evocodec.isolation.confine import NOBODY
from evocodec.sandbox.allowed_paths import allowed_paths
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.policy import PROBE_LIMITS, Limits, Policy
from evocodec.sandbox.server_process import ServerProcess

PROGRAM = "bwrap"
_PACKAGE = Path(__file__).resolve().parents[2]
# bwrap dies with the thread that started it, which may be a short-lived one. So its parent is a
# shell: that has one thread, ends when bwrap ends, and takes bwrap with it when it is killed.
_KEEPER = ("/bin/sh", "-c", '"$@"; exit $?', "sh")
_ISOLATION = (
    *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    *("--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"),
)


class BubblewrapLauncher(ForkServerLauncher):
    """A ForkServerLauncher with bubblewrap around the fork server.

    Raises InfrastructureFailure where ``bwrap`` is missing or, at the first job, may not work.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        preload: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if preload is None:
            super().__init__(policy, env=env)
        else:
            super().__init__(policy, preload=preload, env=env)
        self._bwrap = find()

    def describe(self, limits: Limits = PROBE_LIMITS) -> IsolationReport:
        """The layers of a job, with bubblewrap as one of them."""
        return IsolationReport({**super().describe(limits).layers, Layer.BUBBLEWRAP: "on"})

    def _make_server(self) -> ServerProcess:
        return _WrappedServer(self._bwrap, self._policy, self._preload, self._environment)


def find() -> str:
    """Return the path of ``bwrap``; raises InfrastructureFailure when it is not installed."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise InfrastructureFailure(
            f"{PROGRAM} is not on the PATH; install bubblewrap (apt-get install bubblewrap), "
            "or choose another sandbox provider"
        )
    return found


class _WrappedServer(ServerProcess):
    def __init__(
        self,
        bwrap: str,
        policy: Policy,
        preload: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        bound, arguments = _file_system(policy)
        keeper = [*_leaving_root(bound), *_KEEPER]
        self._prefix = [*keeper, bwrap, *_ISOLATION, *arguments, "--"]
        super().__init__(policy, preload, environment)

    def _start(
        self, command: list[str], guest_fd: int, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        inner = [str(_interpreter()), *command[1:]]
        return super()._start([*self._prefix, *inner], guest_fd, environment)


def _leaving_root(bound: Iterable[str]) -> list[str]:
    """Return a command prefix that gives up root, if any user may read all that is needed."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None or not all(map(_open_to_all, bound)):
        return []
    return [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def _open_to_all(path: str) -> bool:
    folders = [folder.stat().st_mode & 0o005 == 0o005 for folder in Path(path).parents]
    return all(folders) and bool(Path(path).stat().st_mode & 0o004)


def _file_system(policy: Policy) -> tuple[set[str], list[str]]:
    """Return the paths to bind, and bwrap's arguments that bind them.

    Bound are the paths that jobs may read, and the interpreter.
    """
    paths = allowed_paths(policy.allowed_imports, gpu=bool(policy.devices))
    kernel = ("/proc", "/dev")
    bound = {path for path in paths.trees if not path.startswith(kernel)}
    bound |= {str(path) for path in _interpreter_files() if path.exists()}
    # /mnt: the guest may build a narrower root folder for its jobs there.
    arguments = ["--proc", "/proc", "--dev", "/dev", "--dir", "/mnt"]
    for path in sorted(bound):
        arguments += ["--ro-bind", path, path]
    for device in policy.devices:
        arguments += ["--dev-bind", device, device]
    for folder in paths.listable:
        arguments += ["--dir", folder]
    for link, target in paths.links.items():
        if link not in bound and not link.startswith(kernel):
            arguments += ["--symlink", target, link]
    return bound, [*arguments, "--remount-ro", "/", "--chdir", "/"]


def _interpreter() -> Path:
    """The interpreter's path with no symbolic link among its folders."""
    executable = Path(sys.executable)
    return executable.parent.resolve() / executable.name


def _interpreter_files() -> list[Path]:
    executable = _interpreter()
    library = Path(
        sysconfig.get_config_var("LIBDIR") or "/", sysconfig.get_config_var("INSTSONAME") or ""
    )
    files = [executable, executable.resolve(), executable.parent.parent / "pyvenv.cfg"]
    return [*files, _PACKAGE / "__init__.py", *([library] if library.is_file() else [])]
