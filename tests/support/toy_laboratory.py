"""A laboratory small enough for tests: one tiny clip, a toy codec, wide thresholds."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evocodec.app import Laboratory, runner
from evocodec.config import Settings, load_settings
from evocodec.execution.engine import local_engine
from evocodec.video.clips import default_clips

TOY = Path(__file__).parents[1] / "data" / "toy_codec.py"
CARPHONE = default_clips()[0].path

# A toy is nowhere near HEVC: what is tested is the rule's machinery, not the rule's numbers, which
# have tests of their own.
WIDE: dict[str, Any] = {
    "judge.chance_first_below_mbps": 1000.0,
    "run.program": str(TOY),
    "run.slots": 2,
    "run.minutes": 5.0,
    "evaluation.clips": [f"{CARPHONE}@0-8:96x80"],
    "evaluation.screen_frames": 4,
    "evaluation.screen_keep_below": 0.95,
    # It quantises chroma as it does luma, which is coarse for colours.
    "evaluation.chroma_margin_db": 10.0,
    # The gate's draws are secret, so that a toy may fail them or not; it has tests of its own.
    "held_out.enabled": False,
    # Requests are counted; the question before a run has tests of its own (test_preflight.py).
    "model.preflight": False,
    "sandbox.wall_seconds": 20.0,
    "sandbox.cpu_seconds": 20.0,
}


def settings_for(workspace: Path, **changes: Any) -> Settings:
    """Test settings; names use double underscores for dots."""
    flags = {**WIDE, "workspace": str(workspace)}
    flags |= {name.replace("__", "."): value for name, value in changes.items()}
    return load_settings(flags=flags)


@contextmanager
def laboratory(workspace: Path, **changes: Any) -> Iterator[Laboratory]:
    """A laboratory of its own, closed afterwards; its runs start Ray."""
    with Laboratory.open(settings_for(workspace, **changes)) as opened:
        yield opened


@contextmanager
def local_laboratory(workspace: Path, **changes: Any) -> Iterator[Laboratory]:
    """The same, but its runs use threads in place of Ray, which takes seconds to start.

    For tests of what a run decides and keeps; the engines are alike (test_engine.py).
    """
    with pytest.MonkeyPatch.context() as patch, laboratory(workspace, **changes) as opened:
        patch.setattr(runner, "ray_engine", local_engine)
        yield opened


def git(repository: Path, *arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
