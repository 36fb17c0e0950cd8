"""What a process that has only just begun does: what it imports, and that digests agree."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from evocodec.store.sqlite.ledger import SqliteLedger
from tests.support import sample_run as story


def test_help_does_not_import_what_is_slow() -> None:
    code = (
        "import sys, evocodec.cli.main\n"
        "slow = {'ray', 'torch', 'cv2', 'scipy', 'langgraph', 'matplotlib', 'pydantic'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "[]"


SLOW = {
    *("ray", "torch", "cv2", "numpy", "scipy", "matplotlib", "agents", "graph", "langgraph"),
    *("langchain_core", "openai", "boto3", "botocore", "git"),
}
LOOKS = ("status", "--json status", "ls", "show c0002", f"show {story.RUN}", "log", "metrics")


def test_looking_at_a_run_imports_nothing_that_is_slow(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "ledger.sqlite")) as ledger:
        for event in story.finished():
            ledger.record(event)
    code = (
        "import sys, evocodec.cli.main as cli\n"
        f"for command in {LOOKS!r}:\n"
        f"    words = ['-w', {str(tmp_path)!r}, *command.split()]\n"
        "    cli.application(cli.needed(words))(words, standalone_mode=False)\n"
        f"print(sorted({SLOW!r} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.count(story.RUN) >= len(LOOKS) - 3
    assert found.stderr.strip() == "[]"


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
