"""Decoys for attacks: listeners, files, a victim process, a secret; each made when it is named.

Placeholders in a program, each replaced before it runs:

=================  =================================================================
``@TOKEN@``        marks what this attack leaves behind, 12 hexadecimal digits
``@TCP4@`` …       ports of listeners: ``TCP4``, ``TCP6``, ``UDP4``
``@ABSTRACT@``     name of a listening abstract Unix socket, without the leading NUL
``@SOCKET@``       path of a listening Unix socket
``@SECRET_FILE@``  a file that any user may read, with the secret
``@OPEN_FILE@``    a file that any user may write
``@OPEN_FOLDER@``  a folder that any user may write into
``@COLD_FILE@``    a file that every job may read and none has loaded, out of memory
``@VICTIM@``       process id of a process with the secret in its environment and memory
``@CONTROLLER@``   process id of the process that judges
=================  =================================================================
"""

import contextlib
import os
import re
import secrets
import select
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

CANARY_VARIABLE = "EVOCODEC_REDTEAM_CANARY"
_PLACEHOLDER = re.compile(r"@([A-Z][A-Z0-9_]*)@")
_VICTIM = "import os, time; keep = os.environ['%s'] * 2; print(1, flush=True); time.sleep(600)"


class Decoys:
    """Decoys of one attack; a context manager that removes them again."""

    def __init__(self, secret: str) -> None:
        self.token = secrets.token_hex(6)
        self.secret = secret
        self._stack = contextlib.ExitStack()
        self._listeners: dict[str, socket.socket] = {}
        self._folder: Path | None = None
        self._victim: subprocess.Popen[bytes] | None = None
        self._victim_nice = 0
        self._values: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()
        self._remove_leftovers()

    def fill(self, program: str) -> str:
        """Return the program with its placeholders replaced; makes the decoys that it names."""
        return _PLACEHOLDER.sub(lambda match: self._value(match[1]), program)

    def effects(self) -> tuple[str, ...]:
        """Return traces of success outside the sandbox, as text."""
        return tuple(self._effects())

    # -- making decoys ----------------------------------------------------------------------------

    def _value(self, name: str) -> str:
        if name not in self._values:
            makers: dict[str, Callable[[], str]] = {
                "TOKEN": lambda: self.token,
                "TCP4": lambda: self._listen(name, socket.AF_INET, socket.SOCK_STREAM),
                "TCP6": lambda: self._listen(name, socket.AF_INET6, socket.SOCK_STREAM),
                "UDP4": lambda: self._listen(name, socket.AF_INET, socket.SOCK_DGRAM),
                "ABSTRACT": lambda: self._listen_at(name, f"\0evocodec-{self.token}"),
                "SOCKET": lambda: self._listen_at(name, str(self._own_folder() / "socket")),
                "SECRET_FILE": lambda: self._file("secret", self.secret, 0o644),
                "OPEN_FILE": lambda: self._file("open", "unchanged", 0o666),
                "OPEN_FOLDER": lambda: str(self._own_folder()),
                "COLD_FILE": _cold_file,
                "VICTIM": self._start_victim,
                "CONTROLLER": lambda: str(os.getpid()),
            }
            self._values[name] = makers[name]()
        return self._values[name]

    def _listen(self, name: str, family: int, kind: int) -> str:
        listener = self._stack.enter_context(socket.socket(family, kind))
        try:
            listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        except OSError:
            return "9"  # a machine without IPv6: no listener for the attack
        if kind == socket.SOCK_STREAM:
            listener.listen()
        self._listeners[name] = listener
        return str(listener.getsockname()[1])

    def _listen_at(self, name: str, address: str) -> str:
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(address)
        if not address.startswith("\0"):
            Path(address).chmod(0o777)
        listener.listen()
        self._listeners[name] = listener
        return address.lstrip("\0")

    def _own_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="evocodec-redteam-"))
            self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._folder.chmod(0o777)
        return self._folder

    def _file(self, name: str, content: str, mode: int) -> str:
        path = self._own_folder() / name
        path.write_text(content, encoding="ascii")
        path.chmod(mode)
        return str(path)

    def _start_victim(self) -> str:
        victim = subprocess.Popen(
            [sys.executable, "-S", "-c", _VICTIM % CANARY_VARIABLE],
            env={CANARY_VARIABLE: self.secret},
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_end, victim)
        assert victim.stdout is not None  # noqa: S101 - asked for above
        victim.stdout.readline()
        self._victim = victim
        self._victim_nice = os.getpriority(os.PRIO_PROCESS, victim.pid)
        return str(victim.pid)

    # -- looking for traces ------------------------------------------------------------------------

    def _effects(self) -> Iterator[str]:
        for name, listener in self._listeners.items():
            if select.select([listener], [], [], 0)[0]:
                yield f"reached the {name} listener outside"
        if self._folder is not None:
            yield from self._changes(self._folder)
        if self._victim is not None:
            yield from self._victim_effects(self._victim)
        for path in self._left_files():
            yield f"left a file in {path.parent}"
        for pid in _processes_called(self.token):
            yield f"left process {pid} running"

    def _left_files(self) -> Iterator[Path]:
        for folder in {"/tmp", "/dev/shm", "/var/tmp", tempfile.gettempdir()}:  # noqa: S108
            yield from Path(folder).glob(f"*{self.token}*")

    def _remove_leftovers(self) -> None:
        """Remove files that a successful attack left; only those have the token in their names."""
        for path in self._left_files():
            if path.is_file():
                path.unlink(missing_ok=True)

    def _changes(self, folder: Path) -> Iterator[str]:
        for path in sorted(folder.iterdir()):
            if path.name not in {"open", "secret", "socket"}:
                yield f"made {path.name} in a folder outside"
        opened = folder / "open"
        if "OPEN_FILE" not in self._values:
            return
        if not opened.exists() or opened.read_text(errors="replace") != "unchanged":
            yield "changed a file outside"
        elif opened.stat().st_mode & 0o7777 != 0o666 or opened.stat().st_nlink != 1:
            yield "changed the mode or the links of a file outside"

    def _victim_effects(self, victim: subprocess.Popen[bytes]) -> Iterator[str]:
        if victim.poll() is not None:
            yield "ended a process outside"
            return
        if os.getpriority(os.PRIO_PROCESS, victim.pid) != self._victim_nice:
            yield "changed the priority of a process outside"
        status = Path(f"/proc/{victim.pid}/status").read_text(encoding="utf-8", errors="replace")
        facts = dict(line.partition(":\t")[::2] for line in status.splitlines())
        if facts.get("State", "S")[0] in "Tt" or facts.get("TracerPid", "0") != "0":
            yield "stopped or traced a process outside"


def _cold_file() -> str:
    """Return a file outside the page cache: reading it fast shows that another job read it."""
    path = os.path.join(sysconfig.get_paths()["stdlib"], "_pydecimal.py")
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return path


def _end(victim: subprocess.Popen[bytes]) -> None:
    victim.kill()
    victim.communicate()


def _processes_called(token: str) -> Iterator[int]:
    """Yield processes with the token as their name, which every child inherits."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                name = Path("/proc", entry, "comm").read_text(encoding="utf-8", errors="replace")
                if token in name:
                    yield int(entry)
