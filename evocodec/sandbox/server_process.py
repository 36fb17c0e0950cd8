"""Fork-server process: starts it with an empty environment, and holds its control socket."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from evocodec.domain.errors import InfrastructureFailure
from evocodec.guest.ring import PIPE_BYTES
from evocodec.isolation.confine import POD_MODE
from evocodec.sandbox import cgroups
from evocodec.sandbox.allowed_paths import (
    PILLOW_MODULES,
    allowed_paths,
    masked_paths,
    native_libraries,
)
from evocodec.sandbox.cgroups import JobGroup
from evocodec.sandbox.jobs import Pipes, ServerLostError
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.review.static_rules import CODEC_FUNCTIONS, CODEC_LIBRARIES, CODEC_MODULES
from evocodec.sandbox.shared_frames import SharedFrames

START_SECONDS = 120.0
_PIPE_BYTES = 1 << 20
_FIRST_FREE_FD = 3
_STDERR_TAIL_BYTES = 4000
# Parts of SciPy that ``import scipy`` leaves to be loaded when first used.
_SUBMODULES = ("scipy.fft", "scipy.ndimage", "scipy.signal", "scipy.interpolate", "scipy.linalg")
_BOOT = (
    "import sys; sys.path.extend(sys.argv[1].split(':')); "
    "from evocodec.guest.server_start import main; main(int(sys.argv[2]))"
)


class ServerProcess:
    """A running fork server and the control socket to it."""

    def __init__(
        self, policy: Policy, preload: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._groups, self._groups_state = _find_groups(policy)
        self.control, guest_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # In memory: a server starts where the folder for temporary files is full or read-only.
        stderr_fd = os.memfd_create("fork-server-stderr")
        self._stderr: IO[bytes] = open(stderr_fd, "r+b", buffering=0)  # noqa: SIM115 - see stop()
        path = ":".join(_import_path())
        # Not one of the first three, which may be free: the server's own replace them.
        guest_fd = fcntl.fcntl(guest_end.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
        guest_end.close()
        command = [sys.executable, "-P", "-s", "-B", "-c", _BOOT, path, str(guest_fd)]
        try:
            self.process = self._start(command, guest_fd, environment)
        except OSError as error:
            self.control.close()
            self._stderr.close()
            raise InfrastructureFailure(f"the fork server could not be started: {error}") from error
        finally:
            os.close(guest_fd)
        self._configure(policy, preload)

    def _start(
        self, command: list[str], guest_fd: int, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Run ``command`` with ``guest_fd`` and no other descriptor; raises OSError."""
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
        paths = allowed_paths(policy.allowed_imports, gpu=bool(policy.devices))
        config = {
            "preload": list(preload),
            "preload_without_files": sorted({*policy.allowed_imports, *_SUBMODULES}),
            "allowed_paths": paths.trees,
            "listable": paths.listable,
            "devices": policy.devices,
            "codec_names": {} if policy.allow_library_codecs else CODEC_FUNCTIONS,
            "codec_modules": CODEC_MODULES.pattern,
            "codec_libraries": CODEC_LIBRARIES.pattern,
            "preload_for_codecs": _preload_for_codecs(paths.trees),
            "masked_paths": () if policy.allow_library_codecs else masked_paths(paths.trees),
            "native": native_libraries(policy.allowed_imports),
            "links": dict(paths.links),
            "namespaces": policy.mode != "pod",
            "paths_open": policy.paths_open,
            "groups_prefix": self._groups.prefix if self._groups else "",
            "groups_in": sorted({str(path) for path in self._groups.folders.values()})
            if self._groups
            else [],
        }
        self.control.settimeout(START_SECONDS)
        try:
            self.control.send(json.dumps(config).encode())
            reply = self.control.recv(64)
        except OSError as error:
            reply = str(error).encode()
        if reply != b"ready":
            tail = self._stop_and_read_stderr()
            raise InfrastructureFailure(f"the sandbox's fork server did not start: {tail}")
        self.control.settimeout(None)

    def submit(self, request: Mapping[str, object], shared: SharedFrames | None) -> Pipes:
        """Start a job.

        Raises ServerLostError when the server is gone, and OSError for a lack of descriptors;
        nothing is left open then.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as handed:
            job_source, source = _pipe(handed, ours)
            target, job_target = _pipe(ours, handed)
            errors, job_errors = _pipe(ours, handed)
            status, job_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.enter_context(status)
            handed.enter_context(job_status)
            status.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            _size_pipes(str(request["operation"]), source, target)
            fds = [job_source, job_target, job_errors, job_status.fileno()]
            if shared is not None:
                fds.append(shared.fd)
            try:
                socket.send_fds(self.control, [json.dumps(request).encode()], fds)
            except OSError as error:
                raise ServerLostError(str(error)) from error
            ours.pop_all()
        return Pipes(source=source, target=target, errors=errors, status=status)

    def make_group(self) -> tuple[JobGroup | None, str]:
        """Return a control group for one job, and its state for the isolation report."""
        if self._groups is None:
            return None, self._groups_state
        try:
            return self._groups.make(), self._groups_state
        except OSError as error:
            return None, f"off: {error}"

    def stop(self) -> None:
        """Kill the server and, with it, every job."""
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
        return tail or "it wrote nothing to its standard error"


def _pipe(reads: contextlib.ExitStack, writes: contextlib.ExitStack) -> tuple[int, int]:
    """Make a pipe, each end of which closes with its owner; raises OSError."""
    reader, writer = os.pipe()
    reads.callback(os.close, reader)
    writes.callback(os.close, writer)
    return reader, writer


def _preload_for_codecs(trees: Iterable[str]) -> list[str]:
    """Return the modules of Pillow to load first, if jobs may import Pillow or torchvision."""
    pillow = any(Path(path).name == "PIL" for path in trees)
    return [f"PIL.{name}" for name in PILLOW_MODULES] if pillow else []


def _import_path() -> list[str]:
    """Return the folders of evocodec and the libraries: the guest may not see a .pth file."""
    root = str(Path(__file__).resolve().parents[2])
    libraries = ("site-packages", "dist-packages")
    return [root, *(path for path in sys.path if Path(path).name in libraries)]


def _size_pipes(operation: str, source: int, target: int) -> None:
    """Make the packet pipe long, and the doorbell pipe as short as the number of frame slots.

    Raises OSError when the doorbell pipe cannot be made that short.
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
