"""Versions to adopt, and git as the tests of the champion repository call it."""

import subprocess
from pathlib import Path

from evocodec.champions.messages import AdoptionEntry
from evocodec.codec.program import Program
from evocodec.domain.candidate import Origin, Verdict
from evocodec.domain.results import Score
from evocodec.domain.vocabulary import VerdictRule


def entry(
    number: int, *, run_id: str = "run-1", hypothesis: str = "larger blocks", source: str = ""
) -> AdoptionEntry:
    bitrate = 14.0 / 1.1**number
    return AdoptionEntry(
        run_id=run_id,
        candidate_id=f"c{number:04}",
        parent_id=f"c{number - 1:04}",
        program=Program(source or f"STEP = {number}\n"),
        score=Score(bitrate, 20.0 + number, -5.5, "city", 0.9, 2.0, 8.0, 2**20, 4000, ()),
        verdict=Verdict(
            True, VerdictRule.BITRATE, "fewer bits", f"v{number - 1}", 10.25, bitrate, 21.0
        ),
        origin=Origin.MODEL,
        model="some-model",
        hypothesis=hypothesis,
        at="2026-01-02T03:04:05.678",
    )


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()
