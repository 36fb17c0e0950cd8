"""Keys during a real run: in no other process's environment, and in nothing that is kept."""

import base64
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from evocodec.cli.exits import ExitCode
from tests.support.scripted_model import fails, scripted_endpoint
from tests.support.toy_laboratory import CARPHONE, TOY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

KEY = "sk-BAIT/4711+key"
BAITS = {
    "EVOCODEC_MODEL__API_KEY": f" {KEY}\n",
    "EVOCODEC_MODEL__CODER": '{"api_key": "BAIT-of-the-coder"}',
    "AWS_ACCESS_KEY_ID": "BAIT-of-aws-1",
    "AWS_SECRET_ACCESS_KEY": "BAIT-of-aws-2",
    "HF_TOKEN": "BAIT-of-another",
}


def environments(process: psutil.Process) -> dict[str, bytes]:
    """What every descendant was given at its start, by its command line."""
    found: dict[str, bytes] = {}
    with suppress(psutil.NoSuchProcess):
        for child in process.children(recursive=True):
            with suppress(OSError, psutil.NoSuchProcess):
                name = f"{child.pid} {' '.join(child.cmdline())}"
                found[name] = Path(f"/proc/{child.pid}/environ").read_bytes()
    return found


def test_no_other_process_and_no_file_gets_a_key(tmp_path: Path) -> None:
    echo = f"refused: {KEY} {base64.b64encode(f'u:{KEY}'.encode()).decode()}"
    with scripted_endpoint([fails(401, message=echo)] * 20) as endpoint:
        command = [
            *(sys.executable, "-m", "evocodec", "run", "-w", str(tmp_path / "w"), "--plain"),
            *("--candidates", "2", "--program", str(TOY), "--clip", f"{CARPHONE}@0-8:96x80"),
            *("--set", f"model.base_url={endpoint.base_url}", "--set", "model.model=m"),
            *("--set", "telemetry.log_to=stderr", "--set", "held_out.enabled=false"),
            # The toy is coarse for colours, and only a measured one is planned from.
            *("--set", "evaluation.chroma_margin_db=10"),
        ]
        seen: dict[str, bytes] = {}
        with subprocess.Popen(
            command, env=os.environ | BAITS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as run:
            watched = psutil.Process(run.pid)
            deadline = time.monotonic() + 150
            while run.poll() is None and time.monotonic() < deadline:
                seen |= environments(watched)
                time.sleep(0.05)
            run.terminate()  # one that did not end by itself
            output = run.stdout.read().decode() if run.stdout else ""
    assert run.returncode == ExitCode.FAILED, output
    assert any("raylet" in name for name in seen), sorted(seen)
    assert [name for name, environment in seen.items() if b"BAIT" in environment] == []
    asked = {name.lower(): value for name, value in endpoint.requests[-1].headers.items()}
    assert asked["authorization"] == f"Bearer {KEY}", output
    assert "BAIT" not in output
    assert "[hidden]" in output
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "log.jsonl" for path in kept)
    echoed = base64.b64encode(f"u:{KEY}".encode())[4:-4]
    assert [p for p in kept if b"BAIT" in p.read_bytes() or echoed in p.read_bytes()] == []


def test_what_the_process_was_started_with_no_longer_has_the_key() -> None:
    script = (
        "from pathlib import Path\n"
        "from evocodec.keys import hide_keys\n"
        "hide_keys()\n"
        "print(Path('/proc/self/environ').read_bytes())\n"
    )
    given = os.environ | {"OPENAI_API_KEY": "bait-4711", "EVOCODEC_RUN__SEED": "kept-4711"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=given, capture_output=True, text=True, check=True
    )
    assert "kept-4711" in done.stdout
    assert "bait-4711" not in done.stdout
