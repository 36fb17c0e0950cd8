"""Fork-server process: starts it with an empty environment, and holds its control socket."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from evocodec.domain.errors import InfrastructureFailure
from evocodec.guest.ring import PIPE_BYTES
from evocodec.isolation.confine import POD_MODE
from evocodec.sandbox import cgroups
from evocodec.sandbox.cgroups import JobGroup
from evocodec.sandbox.jobs import Pipes, ServerLostError
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.readable import (
    PILLOW_MODULES,
    native_libraries,
    readable_paths,
    withheld_paths,
)
from evocodec.sandbox.review.static_rules import CODEC_FUNCTIONS, CODEC_LIBRARIES, CODEC_MODULES
from evocodec.sandbox.shared_frames import SharedFrames

START_SECONDS = 120.0
_PIPE_BYTES = 1 << 20
_STDERR_TAIL_BYTES = 4000
# Parts of SciPy that ``import scipy`` leaves to be loaded when first used.
_SUBMODULES = ("scipy.fft", "scipy.ndimage", "scipy.signal", "scipy.interpolate", "scipy.linalg")
_BOOT = (
    "import sys; sys.path.extend(sys.argv[1].split(':')); "
    "from evocodec.guest.server import main; main(int(sys.argv[2]))"
)


class ServerProcess:
    """A running fork server and the control socket to it."""

    def __init__(
        self, policy: Policy, preload: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._groups, self._groups_state = _find_groups(policy)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        path = ":".join(_import_path())
        command = [sys.executable, "-P", "-s", "-B", "-c", _BOOT, path, str(theirs.fileno())]
        try:
            self.process = self._start(command, theirs.fileno(), environment)
        except OSError as error:
            self.control.close()
            self._stderr.close()
            raise InfrastructureFailure(f"the fork server could not be started: {error}") from error
        finally:
            theirs.close()
        self._configure(policy, preload)

    def _start(
        self, command: list[str], guest_fd: int, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Run ``command`` with ``guest_fd`` and nothing else of ours; raises OSError."""
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
            pass_fds=(guest_fd,),
            start_new_session=True,
        )

    def _configure(self, policy: Policy, preload: Sequence[str]) -> None:
        paths = readable_paths(policy.allowed_imports, gpu=bool(policy.devices))
        config = {
            "preload": list(preload),
            "preload_without_files": sorted({*policy.allowed_imports, *_SUBMODULES}),
            "readable": paths.readable,
            "listable": paths.listable,
            "devices": policy.devices,
            "codec_names": {} if policy.allow_library_codecs else CODEC_FUNCTIONS,
            "codec_modules": CODEC_MODULES.pattern,
            "codec_libraries": CODEC_LIBRARIES.pattern,
            "preload_for_codecs": _preload_for_codecs(paths.readable),
            "withheld": () if policy.allow_library_codecs else withheld_paths(paths.readable),
            "native": native_libraries(policy.allowed_imports),
            "links": dict(paths.links),
            "namespaces": policy.mode != "pod",
            "groups_prefix": self._groups.prefix if self._groups else "",
            "groups_in": sorted({str(path) for path in self._groups.folders.values()})
            if self._groups
            else [],
        }
        self.control.settimeout(START_SECONDS)
        try:
            self.control.send(json.dumps(config).encode())
            answer = self.control.recv(64)
        except OSError as error:
            answer = str(error).encode()
        if answer != b"ready":
            tail = self._stop_and_read_stderr()
            raise InfrastructureFailure(f"the sandbox's fork server did not start: {tail}")
        self.control.settimeout(None)

    def submit(self, request: Mapping[str, object], shared: SharedFrames | None) -> Pipes:
        """Start a job; raises ServerLostError when the server is gone."""
        source_theirs, source = os.pipe()
        target, target_theirs = os.pipe()
        errors, errors_theirs = os.pipe()
        status, status_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        pipes = Pipes(source=source, target=target, errors=errors, status=status)
        try:
            _size_pipes(str(request["operation"]), source, target)
        except OSError:
            pipes.close()
            for fd in (source_theirs, target_theirs, errors_theirs):
                os.close(fd)
            status_theirs.close()
            raise
        handed = [source_theirs, target_theirs, errors_theirs, status_theirs.fileno()]
        if shared is not None:
            handed.append(shared.fd)
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], handed)
        except OSError as error:
            pipes.close()
            raise ServerLostError(str(error)) from error
        finally:
            status_theirs.close()
            for fd in handed[:3]:
                os.close(fd)
        return pipes

    def make_group(self) -> tuple[JobGroup | None, str]:
        """A control group for one job, and what to report about it."""
        if self._groups is None:
            return None, self._groups_state
        try:
            return self._groups.make(), self._groups_state
        except OSError as error:
            return None, f"off: {error}"

    def stop(self) -> None:
        """End the server and, with it, every job."""
        self.control.close()
        self.process.kill()
        self.process.wait()
        self._stderr.close()

    def _stop_and_read_stderr(self) -> str:
        self.process.kill()
        self.process.wait()
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_TAIL_BYTES))
        tail = self._stderr.read().decode("utf-8", "replace").strip()
        self.stop()
        return tail or "it said nothing"


def _preload_for_codecs(readable: Iterable[str]) -> list[str]:
    """Pillow, where torchvision or the policy itself brings it in."""
    pillow = any(Path(path).name == "PIL" for path in readable)
    return [f"PIL.{name}" for name in PILLOW_MODULES] if pillow else []


def _import_path() -> list[str]:
    """Where evocodec is, and the libraries: a .pth file may be out of the fork server's sight."""
    root = str(Path(__file__).resolve().parents[2])
    libraries = ("site-packages", "dist-packages")
    return [root, *(path for path in sys.path if Path(path).name in libraries)]


def _size_pipes(operation: str, source: int, target: int) -> None:
    """Make the one with packets long, and the one with doorbells as short as the frames' slots.

    Raises OSError when it cannot be short.
    """
    doorbells = {"encode": source, "decode": target}.get(operation)
    for fd in (source, target):
        if fd == doorbells:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            continue
        with contextlib.suppress(OSError):  # refused to a user with many pipes: slower only
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _find_groups(policy: Policy) -> tuple[cgroups.Cgroups | None, str]:
    if policy.mode == "pod":
        return None, POD_MODE
    try:
        groups = cgroups.find()
    except OSError as error:
        return None, f"off: {error}"
    return groups, groups.state
