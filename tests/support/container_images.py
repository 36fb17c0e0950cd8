"""Container images for tests: built from this tree, and removed afterwards."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BASE = "localhost/evocodec-base:bookworm"
_BUILD_SECONDS = 1500


@contextmanager
def built_image(kind: str, name: str | None) -> Iterator[str]:
    """The ``sandbox`` or ``controller`` image: that of this ``name``, or else one built for now."""
    if os.environ.get("EVOCODEC_TEST_IMAGE") == "0":
        pytest.skip("EVOCODEC_TEST_IMAGE=0 is set: no images are built")
    if os.uname().machine != "x86_64":
        pytest.skip("the images' packages are locked for x86-64")
    missing = [tool for tool in ("podman", "buildah") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install podman buildah runc)")
    if os.getuid() != 0:
        pytest.skip("rootless containers need set-up that this test does not make: run as root")
    if name is not None:  # kept, as whoever named it expects
        if not _exists(name):
            _build(kind, name)
        yield name
        return
    ours = f"localhost/evocodec-{kind}:test-{os.getpid()}"
    try:
        _build(kind, ours)
        yield ours
    finally:
        subprocess.run(["podman", "rmi", "--force", ours], check=False, capture_output=True)


def _build(kind: str, name: str) -> None:
    base = os.environ.get("BASE")
    if not (base or _exists(_BASE) or shutil.which("mmdebstrap")):
        pytest.skip("no base: name one in BASE, or apt-get install mmdebstrap to make one")
    if not base:
        _make_base()
    settings = {"BASE": "local", "WHEELS": "fetch", "PYTHON": sys.executable}
    built = subprocess.run(
        [ROOT / f"{kind}-image" / "build.sh"],
        # `make test TORCH=yes` is about this machine's own environment.
        env={**settings, **os.environ, "IMAGE": name, "TORCH": "none"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_BUILD_SECONDS,
        check=False,
    )
    advice = "EVOCODEC_TEST_IMAGE=0 leaves the images out"
    assert built.returncode == 0, f"{built.stdout[-4000:]}\nno {kind} image; {advice}"


def _make_base() -> None:
    """Once, also where two tests build at the same time; it is kept for the next time."""
    with (Path(tempfile.gettempdir()) / "evocodec-base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _exists(_BASE):
            base = [str(ROOT / "sandbox-image" / "base.sh"), _BASE]
            subprocess.run(base, check=True, timeout=_BUILD_SECONDS)


def _exists(name: str) -> bool:
    return subprocess.run(["podman", "image", "exists", name], check=False).returncode == 0
