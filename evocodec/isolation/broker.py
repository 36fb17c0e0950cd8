"""The path broker: answers the system calls of a job that take paths, and counts its threads.

It is used where jobs have no root folder of their own. It is a process beside the fork server,
behind the same Landlock rules as the jobs, without any privilege. It copies a path out of the
caller's memory once, looks it up in the ``VirtualFs``, performs the call itself, and answers. The
kernel never reads the caller's memory again, so a job gains nothing by changing the path meanwhile.
No such call continues without the broker; when the broker dies, these calls fail. A new thread it
leaves to the kernel, which reads nothing but registers then, up to the job's limit of threads.

Each job, while it can still be trusted, sends its seccomp listener, its own memory and the folder
of its threads as files (which needs no permission to trace the job), and its descriptors. One
thread; jobs take turns call by call.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from evocodec.isolation import linux, seccomp_notify
from evocodec.isolation.seccomp_notify import Notification
from evocodec.isolation.syscalls import ALLOWED, BROKERED, CONDITIONAL, COUNTED
from evocodec.isolation.virtual_fs import VirtualFs, mode_of, status_of

STANDARD_FDS = 5
"""Number of a job's descriptors, 0 to 4, that it sends after its listener, memory and threads."""
HEARTBEAT = b"H"
"""Sent by the fork server; the broker sends the same bytes back."""
_STARTING_SECONDS = 1.0
_MAX_PATH = 4096
_AT_FDCWD = -100
_AT_NO_FOLLOW, _AT_NO_AUTOMOUNT, _AT_EMPTY_PATH = 0x100, 0x800, 0x1000
_NR_FACCESSAT2 = 439
_OPEN_REFUSED = os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_PATH | 0o20000000  # O_TMPFILE
_OPEN_PASSED_ON = os.O_ACCMODE | os.O_DIRECTORY
_NO_DEVICE_EFFECTS = os.O_NOCTTY | os.O_NONBLOCK  # opening a pipe must not block all jobs
_KINDS_TO_OPEN = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFCHR)
_LOW_WORD = 0xFFFFFFFF


class _Descriptor(NamedTuple):
    """Status and path of an open descriptor of a job; ``path`` is empty for a pipe."""

    status: bytes
    path: bytes = b""


@dataclass(slots=True)
class _Job:
    listener: int
    memory: int
    tasks: int
    most_threads: int
    descriptors: dict[int, _Descriptor] = field(default_factory=dict)
    # Threads that were allowed to start one, and when: the kernel may not have counted it yet.
    starting: dict[int, float] = field(default_factory=dict)


class Broker:
    """Answers the calls of all jobs of one fork server."""

    def __init__(self, control: socket.socket, files: VirtualFs, devices: frozenset[bytes]) -> None:
        self._control = control
        self._files = files
        self._devices = devices
        self._jobs: dict[int, _Job] = {}  # by listener
        self._poller = select.epoll()
        self._poller.register(control, select.EPOLLIN)
        column = 0 if platform.machine() == "x86_64" else 1
        handlers: dict[str, Callable[[_Job, Notification], int | None]] = {
            "open": lambda job, call: self._open(job, call, _AT_FDCWD, *call.arguments[:2]),
            "openat": lambda job, call: self._open(job, call, *call.arguments[:3]),
            "access": lambda job, call: self._access(job, _AT_FDCWD, *call.arguments[:2]),
            "faccessat": lambda job, call: self._access(job, *call.arguments[:3]),
            "readlink": lambda job, call: self._read_link(job, _AT_FDCWD, *call.arguments[:3]),
            "readlinkat": lambda job, call: self._read_link(job, *call.arguments[:4]),
            "stat": lambda job, call: self._stat(
                job, _AT_FDCWD, call.arguments[0], call.arguments[1], 0
            ),
            "lstat": lambda job, call: self._lstat(job, *call.arguments[:2]),
            "newfstatat": lambda job, call: self._stat(job, *call.arguments[:4]),
            "fstat": lambda job, call: self._fstat(job, *call.arguments[:2]),
            "clone": self._start_thread,
        }
        numbers = ALLOWED | CONDITIONAL
        self._handlers = {numbers[name][column]: handlers[name] for name in (*BROKERED, *COUNTED)}

    def serve(self) -> None:
        """Run until the fork server is gone."""
        while True:
            for fd, events in self._poller.poll():
                if fd == self._control.fileno():
                    if not self._accept():
                        return
                elif events & select.EPOLLIN:
                    self._answer(self._jobs[fd])
                else:
                    self._drop(self._jobs.pop(fd))

    def _accept(self) -> bool:
        message, fds, _flags, _address = socket.recv_fds(self._control, 16, 3 + STANDARD_FDS)
        if not message:
            return False
        if message == HEARTBEAT:
            self._control.send(HEARTBEAT)
            return True
        if len(fds) != 3 + STANDARD_FDS:  # out of descriptors: the job's calls then fail
            for fd in fds:
                os.close(fd)
            return True
        listener, memory, tasks, *descriptors = fds
        job = _Job(listener, memory, tasks, most_threads=int(message))
        for number, fd in enumerate(descriptors):
            job.descriptors[number] = _Descriptor(status_of(fd))
            os.close(fd)
        with contextlib.suppress(OSError):
            seccomp_notify.prefer_same_cpu(listener)
        self._jobs[listener] = job
        self._poller.register(listener, select.EPOLLIN)
        return True

    def _drop(self, job: _Job) -> None:
        self._poller.unregister(job.listener)
        os.close(job.listener)
        os.close(job.memory)
        os.close(job.tasks)

    def _answer(self, job: _Job) -> None:
        notification = seccomp_notify.receive(job.listener)
        if notification is None:
            return
        job.starting.pop(notification.thread, None)  # it has come back from starting one
        try:
            value = self._handlers[notification.number](job, notification)
        except OSError as error:
            value = -(error.errno or errno.EIO)
        if value is not None:
            seccomp_notify.answer(job.listener, notification, value)

    # -- the system calls; their arguments are untrusted       -----------------------------------

    def _open(
        self, job: _Job, notification: Notification, folder: int, address: int, flags: int
    ) -> None:
        """Open a file and answer with its descriptor; the caller sends no second answer."""
        if flags & _OPEN_REFUSED:
            raise OSError(errno.EPERM, "not for reading")
        path, follow = self._path(job, folder, address), not flags & os.O_NOFOLLOW
        if flags & os.O_ACCMODE:
            with self._files.find(path, follow=follow) as found:
                path = found.path
            if path not in self._devices:
                raise OSError(errno.EACCES, "read-only")
        wanted = flags & _OPEN_PASSED_ON | _NO_DEVICE_EFFECTS
        with self._files.find(path, wanted, follow=follow) as found:
            kind = stat.S_IFMT(mode_of(found.status))
            if found.fd < 0 or kind not in _KINDS_TO_OPEN:
                raise OSError(errno.ELOOP if kind == stat.S_IFLNK else errno.EACCES, "not a file")
            fcntl.fcntl(found.fd, fcntl.F_SETFL, flags & os.O_NONBLOCK)
            on_exec = bool(flags & os.O_CLOEXEC)
            number = seccomp_notify.answer_with_descriptor(
                job.listener, notification, found.fd, close_on_exec=on_exec
            )
        job.descriptors[number] = _Descriptor(found.status, found.path)

    def _access(self, job: _Job, folder: int, address: int, mode: int) -> int:
        if mode & ~(os.R_OK | os.W_OK | os.X_OK):
            raise OSError(errno.EINVAL, "no such mode")
        with self._files.find(self._path(job, folder, address)) as found:
            if mode & os.W_OK:
                raise OSError(errno.EACCES, "read-only")
            if found.fd >= 0:
                arguments = (ctypes.c_long(found.fd), b"", ctypes.c_long(mode))
                linux.syscall(_NR_FACCESSAT2, *arguments, ctypes.c_long(_AT_EMPTY_PATH))
        return 0

    def _read_link(self, job: _Job, folder: int, address: int, buffer: int, size: int) -> int:
        size &= _LOW_WORD
        if not 0 < size < 1 << 31:
            raise OSError(errno.EINVAL, "no room")
        with self._files.find(self._path(job, folder, address), follow=False) as found:
            if not stat.S_ISLNK(mode_of(found.status)):
                raise OSError(errno.EINVAL, "no link")
            target = found.target or os.readlink(b"", dir_fd=found.fd)
        return self._write(job, buffer, target[:size])

    def _stat(self, job: _Job, folder: int, address: int, buffer: int, flags: int) -> int:
        if flags & _LOW_WORD & ~(_AT_NO_FOLLOW | _AT_NO_AUTOMOUNT | _AT_EMPTY_PATH):
            raise OSError(errno.EINVAL, "no such flag")
        text = self._read_string(job, address)
        if not text and flags & _AT_EMPTY_PATH and _signed(folder) != _AT_FDCWD:
            return self._fstat(job, folder, buffer)
        if not text and flags & _AT_EMPTY_PATH:
            text = b"/"
        path = self._absolute(job, folder, text)
        with self._files.find(path, follow=not flags & _AT_NO_FOLLOW) as found:
            self._write(job, buffer, found.status)
        return 0

    def _lstat(self, job: _Job, address: int, buffer: int) -> int:
        return self._stat(job, _AT_FDCWD, address, buffer, _AT_NO_FOLLOW)

    def _fstat(self, job: _Job, descriptor: int, buffer: int) -> int:
        self._write(job, buffer, _descriptor(job, descriptor).status)
        return 0

    def _start_thread(self, job: _Job, notification: Notification) -> None:
        """Let the kernel start a thread, unless the job has as many as it may.

        The other filter has checked the flags, which are in registers and so cannot change.
        """
        now = time.monotonic()
        job.starting = {k: at for k, at in job.starting.items() if now - at < _STARTING_SECONDS}
        # A folder has two links more than it has folders in it, and here each thread is one.
        threads = os.fstat(job.tasks).st_nlink - 2
        if threads + len(job.starting) >= job.most_threads:
            raise OSError(errno.EAGAIN, "too many threads")
        job.starting[notification.thread] = now
        seccomp_notify.let_continue(job.listener, notification)

    # -- the job's memory, and its paths        ------------------------------------------------

    def _path(self, job: _Job, folder: int, address: int) -> bytes:
        return self._absolute(job, folder, self._read_string(job, address))

    def _absolute(self, job: _Job, folder: int, text: bytes) -> bytes:
        if not text:
            raise OSError(errno.ENOENT, "no name")
        if text.startswith(b"/"):
            return text
        if _signed(folder) == _AT_FDCWD:
            return b"/" + text
        opened = _descriptor(job, folder)
        if not stat.S_ISDIR(mode_of(opened.status)):
            raise OSError(errno.ENOTDIR, "no folder")
        return opened.path + b"/" + text

    def _read_string(self, job: _Job, address: int) -> bytes:
        """Return the string at ``address``, copied once."""
        try:
            data = os.pread(job.memory, _MAX_PATH, address)
        except (OSError, OverflowError):
            data = b""
        text, end, _rest = data.partition(b"\0")
        if not end:
            code = errno.ENAMETOOLONG if len(data) == _MAX_PATH else errno.EFAULT
            raise OSError(code, "no string")
        return text

    def _write(self, job: _Job, address: int, data: bytes) -> int:
        try:
            written = os.pwrite(job.memory, data, address)
        except (OSError, OverflowError):
            written = -1
        if written != len(data):
            raise OSError(errno.EFAULT, "no room")
        return written


def _signed(word: int) -> int:
    """Return a descriptor from the register that holds it."""
    word &= _LOW_WORD
    return word - (1 << 32) if word >> 31 else word


def _descriptor(job: _Job, descriptor: int) -> _Descriptor:
    """Return what was last opened under this number; it may have been closed since."""
    opened = job.descriptors.get(_signed(descriptor))
    if opened is None:
        raise OSError(errno.EBADF, "no such descriptor")
    return opened
