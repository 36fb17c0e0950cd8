"""A disk that fills up while a candidate is measured: no fault of the candidate's."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from evocodec.cli.exits import ExitCode

SCRIPT = """
import json, subprocess, sys
from pathlib import Path
from evocodec.app.runs import perform_run
from evocodec.domain.errors import EvocodecError
from evocodec.domain.events import CodeWritten, StageStarted
from tests.support.toy_laboratory import local_laboratory

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], check=True)
filler = disk / "filler"

def fill(event):
    if isinstance(event, StageStarted) and event.stage == "full":
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)): pass
            except OSError: pass

def told(lab):
    return [str(candidate.status) for candidate in lab.resolver.view().candidates]

with local_laboratory(disk / "w", run__candidates=1) as lab:
    try:
        perform_run(lab, listeners=[fill])
        error = "none"
    except EvocodecError as found:
        error = f"{type(found).__name__}: {found}"
    full = told(lab)
filler.unlink(missing_ok=True)
with local_laboratory(disk / "w", run__candidates=1) as lab:
    perform_run(lab, resume="latest")
    print(json.dumps({"error": error, "full": full, "resumed": told(lab)}))
"""


@pytest.fixture
def own_mounts() -> list[str]:
    """The words that start a command with mounts of its own."""
    words = ["unshare", "--mount"]
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    return words


READ_ONLY = """
mount -t tmpfs -o ro none /tmp && mount -t tmpfs -o ro none /var/tmp && cd /proc || exit 99
exec "$0" -w "$1" status
"""


def test_a_machine_without_a_temporary_folder_is_told_what_to_set(own_mounts: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        evocodec = str(Path(sys.executable).with_name("evocodec"))
        words = [*own_mounts, "env", "-u", "TMPDIR", "sh", "-c", READ_ONLY, evocodec, folder]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == ExitCode.USAGE
    assert "Set TMPDIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_fails_no_candidate_and_the_run_resumes(
    tmp_path: Path, own_mounts: list[str]
) -> None:
    words = [*own_mounts, sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert "InfrastructureFailure" in told["error"]
    assert "full" in told["error"]
    assert told["full"] == ["running"]
    assert told["resumed"] == ["adopted"]
