"""What a process that has only just begun does: what it imports, and that digests agree."""

import os
import subprocess
import sys


def test_help_does_not_import_what_is_slow() -> None:
    code = (
        "import sys, evocodec.cli.main\n"
        "slow = {'ray', 'torch', 'cv2', 'scipy', 'langgraph', 'matplotlib', 'pydantic'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "[]"


def test_a_digest_is_the_same_in_every_process() -> None:
    program = "def f(x):\n    return x in {'intra', 'inter', 'skip', 'merge'}\n"
    code = f"from evocodec.codec.program import Program; print(Program({program!r}).facts.digest)"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1
