"""The fork server: imports the heavy libraries once, then forks one process for each job.

It holds no secret and never sees a program or a frame. The supervisor sends it a job's pipes over a
socket, and the forked child reads them. Where the machine allows it, the server lives in a
process-id namespace of its own (see ``server_start``), so that its death ends every job. It starts
no thread before it forks, and owns all its children.

Control socket (SOCK_SEQPACKET, trusted): first a configuration, then one JSON message per job, with
the job's descriptors attached. Status socket of a job: the child sends ``U`` (with its credentials,
hence its process id as the supervisor sees it); the supervisor sends ``K`` to kill the job, or
OUT_OF_TIME; the server sends EXIT_REPORT at the end, or ``!`` and a reason if the job did not
start.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from evocodec.guest import codec_removal, import_filter, program_imports
from evocodec.guest.job_process import (
    JOB_FDS,
    MAX_REQUEST_BYTES,
    ForkServerContext,
    Scratch,
    WarmProcess,
)
from evocodec.isolation import (
    confine,
    landlock,
    linux,
    mounts,
    path_lock,
    resident_libraries,
    seccomp,
)
from evocodec.isolation.broker_process import BrokerProcess

EXIT_REPORT = struct.Struct("<cidq")  # b"X", wait status, CPU seconds, peak memory in bytes
OUT_OF_TIME = b"T"
_ALWAYS_LOADED = ("numpy.random", "evocodec.codec.contract", "evocodec.codec.adapter")


class Server:
    """Forks jobs and reports how they ended."""

    def __init__(
        self, control: socket.socket, config: dict[str, Any], *, pid_namespace: str
    ) -> None:
        self._control = control
        self._config = config
        self._jobs: dict[int, socket.socket] = {}  # process id → status socket
        self._pid_namespace = pid_namespace
        self._own_pid_ns_fd = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._proc_fd = os.open("/proc", os.O_RDONLY | os.O_CLOEXEC)
        if pid_namespace != "on":
            linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        self._broker = BrokerProcess()
        linux.limit_malloc_arenas(2)
        self._import_filter = import_filter.ImportFilter(config["allowed_paths"])
        sys.meta_path.insert(0, self._import_filter)
        self._preload()
        self._root_state = self._enter_root()
        # After entering the root folder: rules belong to its folders, not to those that it hides.
        self._ruleset_fd, self._landlock_state = self._build_ruleset()
        closed = _closed_to_others([*config["allowed_paths"], *config["listable"]])
        self._leave_root = os.getuid() == 0 and not closed
        import_filter.fill_import_caches()
        if self._root_state == "on":
            self._broker.stop("off: not needed, there is a root folder")
        else:
            user = confine.NOBODY if self._leave_root else -1
            self._broker.set_up(config, self._ruleset_fd, user=user)
        self._wakeup, wakeup_writer = socket.socketpair()
        wakeup_writer.setblocking(False)
        signal.set_wakeup_fd(wakeup_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
        self._wakeup_writer = wakeup_writer
        self._warm: WarmProcess | None = None
        self._scratch = Scratch(0, 0)
        self._prepare_next = False
        self._context = ForkServerContext(
            config=config,
            pid_namespace=pid_namespace,
            root_state=self._root_state,
            landlock_state=self._landlock_state,
            leave_root=self._leave_root,
            keeps_root=f"other users may not read {closed}" if os.getuid() == 0 else "",
            proc_fd=self._proc_fd,
            ruleset_fd=self._ruleset_fd,
            broker_fd=self._broker.fd,
            broker_state=self._broker.state,
        )
        gc.collect()
        gc.freeze()  # a job's collector then leaves the shared pages shared

    def _enter_root(self) -> str:
        """Enter a root folder of nothing but what jobs may read; returns the state of the layer."""
        config = self._config
        if not config["namespaces"]:
            return confine.POD_MODE
        root = mounts.RootFolder(
            sources=(*config["allowed_paths"], *config["devices"]),
            folders=(*config["listable"], mounts.SCRATCH),
            links=config["links"],
            masked=tuple(config["masked_paths"]),
        )
        try:
            mounts.enter(root)
        except OSError as error:
            return f"off: {error}"
        return "on"

    def _build_ruleset(self) -> tuple[int, str]:
        config = self._config
        try:
            # A rule covers the whole tree. A root folder of its own holds nothing else to list;
            # without one, jobs use what the fork server has cached of these folders.
            listable = config["listable"] if self._root_state == "on" else ()
            scratch = (mounts.SCRATCH_PARENT,) if self._root_state == "on" else ()
            readable = config["allowed_paths"]
            if self._root_state != "on":
                readable, listable = codec_removal.exclude(readable, config["masked_paths"])
            rules = landlock.Ruleset(readable, listable, config["devices"], scratch)
        except OSError as error:
            return -1, f"off: {error}"
        return rules.fd, f"abi {rules.abi}"

    def _preload(self) -> None:
        names = [*_ALWAYS_LOADED, *self._config["preload"]]
        if not landlock.available():  # then jobs cannot open files, and so import nothing later
            names += self._config["preload_without_files"]
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        program_imports.warm_up()  # here it is done once for all jobs
        if "cv2" in sys.modules:
            # The pool ignores OMP_NUM_THREADS, and would start one thread per core.
            sys.modules["cv2"].setNumThreads(1)
        if self._config["codec_names"]:
            codec_removal.import_all(self._config["preload_for_codecs"])
            codec_removal.remove(self._config["codec_names"], self._config["codec_libraries"])
            codec_removal.remove_modules(self._config["codec_modules"])
            self._import_filter.hide("cv2")
            self._import_filter.hide_all(self._config["codec_modules"])
        resident_libraries.read_all(keep_mapped=True)
        if seccomp.supported():
            path_lock.prepare()
        np.random.seed(0)  # programs may use it; it must be the same in every server

    def serve(self) -> None:
        """Run until the control socket closes."""
        self._control.send(b"ready")
        while True:
            waiting = [self._control, self._wakeup, *self._jobs.values()]
            timeout = 0.0 if self._prepare_next else None
            readable, _, _ = select.select(waiting, [], [], timeout)
            if not readable:
                self._prepare()
            if self._wakeup in readable:
                self._wakeup.recv(4096)
                self._reap()
            for pid, status in list(self._jobs.items()):
                if status in readable:
                    self._stop_job(pid, status)
            if self._control in readable and not self._accept_job():
                break
        for pid in (*self._jobs, *self._waiting()):
            os.kill(pid, signal.SIGKILL)

    def _stop_job(self, pid: int, status: socket.socket) -> None:
        """Kill a job whose supervisor sent ``K`` or ``T`` (too late), or closed the socket."""
        message = b""
        with contextlib.suppress(OSError):
            message = status.recv(16)
        if message == OUT_OF_TIME and not self._broker.is_alive():
            raise SystemExit("the path broker does not answer")  # not the job's fault: try again
        os.kill(pid, signal.SIGKILL)

    def _accept_job(self) -> bool:
        data, fds, _flags, _address = socket.recv_fds(self._control, MAX_REQUEST_BYTES, JOB_FDS)
        if not data:
            return False
        status = socket.socket(fileno=fds[3])
        try:
            pid = self._start_job(data, fds)
        except OSError as error:
            with contextlib.suppress(OSError):
                status.send(b"!" + str(error).encode())
            status.close()
        else:
            self._jobs[pid] = status
        finally:
            for fd in (*fds[:3], *fds[4:]):
                os.close(fd)
        return True

    def _start_job(self, request: bytes, fds: list[int]) -> int:
        self._scratch = Scratch.of_request(json.loads(request))
        self._prepare_next = True
        warm, self._warm = self._warm, None
        if warm is not None:
            if warm.scratch == self._scratch:
                with contextlib.suppress(OSError):  # it has died
                    warm.hand_over(request, fds)
                    return warm.pid
            warm.dismiss()
        warm = self._fork()
        warm.hand_over(request, fds)
        return warm.pid

    def _fork(self) -> WarmProcess:
        nested = self._pid_namespace == "on"
        if nested:
            linux.unshare(linux.CLONE_NEWPID)
        try:
            return WarmProcess(self._context, self._scratch)
        finally:
            if nested:  # never reached in the child, which does not return
                linux.setns(self._own_pid_ns_fd, linux.CLONE_NEWPID)

    def _prepare(self) -> None:
        """Fork a process that waits for the next job; at most once per job, in case it dies."""
        self._prepare_next = False
        with contextlib.suppress(OSError):
            self._warm = self._fork()

    def _reap(self) -> None:
        while True:
            try:
                pid, wait_status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                break
            if self._warm is not None and pid == self._warm.pid:
                self._warm.dismiss()
                self._warm = None
            if pid == self._broker.pid:
                raise SystemExit("the path broker has died")  # and with it every job: see confine
            status = self._jobs.pop(pid, None)
            if status is None:
                continue
            self._kill_orphans()
            cpu_seconds = usage.ru_utime + usage.ru_stime
            report = EXIT_REPORT.pack(b"X", wait_status, cpu_seconds, usage.ru_maxrss * 1024)
            with contextlib.suppress(OSError):
                status.send(report)
            status.close()
        self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kill processes that a job left behind: they become children of this process."""
        if self._pid_namespace != "on":
            for pid in self._orphans():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _orphans(self) -> set[int]:
        own = {*self._jobs, *self._waiting(), self._broker.pid}
        return _children_of(self._proc_fd, os.getpid()) - own

    def _waiting(self) -> list[int]:
        return [] if self._warm is None else [self._warm.pid]


def _children_of(proc_fd: int, parent: int) -> set[int]:
    children = set()
    for entry in os.listdir(proc_fd):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                fd = os.open(f"{entry}/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
                with open(fd, encoding="utf-8", errors="replace") as file:
                    text = file.read()
                if int(text.rpartition(")")[2].split()[1]) == parent:
                    children.add(int(entry))
    return children


def _closed_to_others(paths: Iterable[str]) -> str:
    """Return one of ``paths``, or of their folders, that not every user may read; empty if none.

    Jobs must keep the user id of the owner then.
    """
    for folder in sorted({parent for path in paths for parent in Path(path).parents}):
        if folder.stat().st_mode & 0o005 != 0o005:
            return str(folder)
    for path in paths:
        if Path(path).exists() and not Path(path).stat().st_mode & 0o004:
            return path
    return ""
