"""Runs a command as another user, who can read the interpreter and this checkout wherever they lie.

Usage: ``python -m tests.support.other_user USER COMMAND…``, as root. A home of root's is closed to
others; in a mount namespace of its own the command finds the same files in folders that are open.
USER 0 is root with an interpreter that everybody may read, as in a container.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from evocodec.isolation import linux

ROOT = Path(__file__).resolve().parents[2]
SOMEBODY = 12345
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18


def run_as(
    user: int, words: Sequence[str], *, seconds: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run ``words`` as ``user``, with a home of its own; skips where there is no becoming."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    trial = [sys.executable, "-m", __name__, str(user), sys.executable, "-c", "import numpy"]
    tried = subprocess.run(trial, cwd=ROOT, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"nobody else can run {sys.executable} here: {tried.stderr[-300:]}")
    home = tempfile.mkdtemp(prefix="evocodec-home-")
    os.chown(home, user, user)
    environment = {**os.environ, "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("XDG_CACHE_HOME", None)
    try:
        return subprocess.run(
            [sys.executable, "-m", __name__, str(user), *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _open_folders() -> None:
    """Put what Python needs into open folders at the same places; raises OSError."""
    needed = {Path(sys.base_prefix), Path(sys.prefix), ROOT}
    closed = {
        parent
        for path in needed
        for parent in reversed(path.parents)
        if parent.stat().st_mode & 0o005 != 0o005
    }
    closed = {each for each in closed if not any(parent in closed for parent in each.parents)}
    if not closed:
        return
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", "", _RECURSIVE | _PRIVATE)
    held = {path: os.open(path, os.O_PATH) for path in needed}
    for folder in closed:
        linux.mount("none", str(folder), "tmpfs", 0, "mode=0755")
    for path in sorted(needed):
        if any(folder in path.parents for folder in closed):
            path.mkdir(parents=True, exist_ok=True)
            linux.mount(f"/proc/self/fd/{held[path]}", str(path), "", _BIND | _RECURSIVE)
    for fd in held.values():
        os.close(fd)


def main(user: int, words: Sequence[str]) -> None:
    """Become the user and the command."""
    os.umask(0o022)
    _open_folders()
    os.chdir(ROOT)  # anew: the folder may be mounted elsewhere now
    if user:
        linux.become(user)
    os.execvp(words[0], list(words))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
