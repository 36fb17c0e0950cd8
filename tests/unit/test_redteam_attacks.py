"""The attacks as data, how observations become findings, and that the documentation is theirs."""

import ast
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from evocodec.cli.main import application
from evocodec.domain.candidate import Review
from evocodec.domain.errors import CandidateFailure, FailureKind, UserError
from evocodec.domain.video import Frame
from evocodec.domain.vocabulary import AttackOutcome
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.redteam import checks
from evocodec.sandbox.redteam.attack import (
    SMALL_LIMITS,
    STREAM,
    AttackObservation,
    JobResult,
    Theme,
)
from evocodec.sandbox.redteam.attacks import ALL_ATTACKS, select_attacks
from evocodec.sandbox.redteam.capacity_channels import CHANNELS
from evocodec.sandbox.redteam.decoys import Decoys
from evocodec.sandbox.redteam.report import channel_table, markdown_table

APP = application()

ALL_LAYERS = IsolationReport({"seccomp": "on", "landlock": "abi 7", "pivot_root": "on"})
NO_LAYERS = IsolationReport({})


def picture(level: int) -> Frame:
    small = np.full((STREAM.chroma_height, STREAM.chroma_width), level, np.uint8)
    return Frame(np.full((STREAM.height, STREAM.width), level, np.uint8), small, small)


def seen(
    *jobs: JobResult, effects: tuple[str, ...] = (), layers: IsolationReport = ALL_LAYERS
) -> AttackObservation:
    return AttackObservation(
        jobs, effects, "the-secret", (picture(1), picture(2)), layers, Review(()), SMALL_LIMITS
    )


def said(words: bytes) -> JobResult:
    return JobResult("encode", 0.1, words, (words,))


def failed(kind: FailureKind, message: str = "it failed") -> JobResult:
    return JobResult("encode", 0.1, failure=CandidateFailure(kind, message))


def test_there_are_many_attacks_of_every_theme() -> None:
    counts = Counter(attack.theme for attack in ALL_ATTACKS)
    assert len(ALL_ATTACKS) >= 150
    assert set(counts) == set(Theme)
    assert min(counts.values()) >= 10


def test_names_are_unique_and_can_be_typed() -> None:
    names = [attack.name for attack in ALL_ATTACKS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
    assert not set(names) & set(Theme)


@pytest.mark.parametrize("attack", ALL_ATTACKS, ids=lambda attack: attack.name)
def test_programs_parse_and_name_only_bait_that_exists(attack: object) -> None:
    program = attack.program  # type: ignore[attr-defined]
    known = (
        "TOKEN TCP4 TCP6 UDP4 ABSTRACT SOCKET SECRET_FILE OPEN_FILE OPEN_FOLDER VICTIM CONTROLLER"
        " COLD_FILE"
    )
    assert set(re.findall(r"@([A-Z][A-Z0-9_]*)@", program)) <= set(known.split())
    ast.parse(re.sub(r"@[A-Z][A-Z0-9_]*@", "7", program))


def test_bait_stays_the_same_for_one_attack_and_differs_between_two() -> None:
    with Decoys("x") as one, Decoys("x") as other:
        assert one.fill("@TOKEN@ @TOKEN@") == f"{one.token} {one.token}"
        assert one.fill("@TOKEN@") != other.fill("@TOKEN@")


@pytest.mark.parametrize(
    ("observation", "verdict", "layer"),
    [
        (seen(said(b"EVIDENCE a socket")), AttackOutcome.BROKEN, "x"),
        (seen(said(b"NOTHING"), effects=("a file",)), AttackOutcome.BROKEN, "x"),
        (seen(said(b"LOOT has the-secret in it")), AttackOutcome.BROKEN, "x"),
        (seen(failed(FailureKind.EXCEPTION, "says the-secret")), AttackOutcome.BROKEN, "x"),
        (seen(said(b"LOOT is worthless")), AttackOutcome.HELD, "x"),
        (seen(said(b"NOTHING")), AttackOutcome.HELD, "x"),
        (seen(said(b"REFUSED PermissionError EPERM no")), AttackOutcome.HELD, "seccomp"),
        (seen(said(b"REFUSED PermissionError EACCES no")), AttackOutcome.HELD, "landlock"),
        (seen(said(b"REFUSED FileNotFoundError ENOENT no")), AttackOutcome.HELD, "mount view"),
        (seen(said(b"REFUSED ModuleNotFoundError - no")), AttackOutcome.HELD, "absent module"),
        (seen(said(b"REFUSED MemoryError - no")), AttackOutcome.HELD, "rlimits"),
        (seen(said(b"REFUSED NameError - typo")), AttackOutcome.UNCLEAR, "x"),
        (seen(said(b"")), AttackOutcome.UNCLEAR, "x"),
        (seen(failed(FailureKind.EXCEPTION)), AttackOutcome.UNCLEAR, "x"),
        (seen(failed(FailureKind.FORBIDDEN)), AttackOutcome.HELD, "seccomp"),
        (seen(JobResult("encode", 0.1, infrastructure="lost")), AttackOutcome.UNCLEAR, "x"),
    ],
)
def test_success_is_looked_for_before_words_are_believed(
    observation: AttackObservation, verdict: AttackOutcome, layer: str
) -> None:
    finding = checks.no_success("x")(observation)
    assert (finding.verdict, finding.layer) == (verdict, layer)


def test_a_layer_that_is_off_gets_no_credit() -> None:
    refusal = said(b"REFUSED PermissionError EPERM no")
    assert checks.no_success("x")(seen(refusal, layers=NO_LAYERS)).layer == "permissions"


def test_an_expected_failure_must_be_the_candidates_and_come() -> None:
    check = checks.fails_with(FailureKind.TIMEOUT, layer="x")
    assert check(seen(failed(FailureKind.TIMEOUT))).verdict is AttackOutcome.HELD
    assert check(seen(failed(FailureKind.CRASH))).verdict is AttackOutcome.UNCLEAR
    assert check(seen(said(b"whatever"))).verdict is AttackOutcome.BROKEN
    blamed = JobResult("encode", 0.1, infrastructure="lost")
    assert check(seen(blamed)).verdict is AttackOutcome.BROKEN


def test_frames_that_nobody_paid_for_are_a_breach() -> None:
    check = checks.not_reproduced("x")
    stolen = JobResult("decode", 0.1, frames=(picture(1), picture(0)))
    honest = JobResult("decode", 0.1, frames=(picture(0), picture(0)))
    paid = JobResult("encode", 0.1, b"NOTHING", (bytes(STREAM.frame_bytes),))
    assert check(seen(said(b"NOTHING"), stolen)).verdict is AttackOutcome.BROKEN
    assert check(seen(said(b"NOTHING"), honest)).verdict is AttackOutcome.HELD
    assert check(seen(paid, stolen)).verdict is AttackOutcome.HELD


def test_a_channel_must_give_the_same_reading_when_verified() -> None:
    check = checks.read_twice("x", samples=1)
    sent, verified = said(b""), JobResult("verify", 0.1)
    right = JobResult("decode", 0.1, frames=(picture(1), picture(1)))
    wrong = JobResult("decode", 0.1, frames=(picture(9), picture(9)))
    differs = CandidateFailure(FailureKind.NONDETERMINISTIC, "differs")
    assert check(seen(sent, right, verified)).verdict is AttackOutcome.BROKEN
    assert check(seen(sent, wrong, verified)).verdict is AttackOutcome.HELD
    refused = JobResult("verify", 0.1, failure=differs)
    assert check(seen(sent, right, refused)).verdict is AttackOutcome.HELD
    crashed = failed(FailureKind.CRASH)
    assert check(seen(sent, crashed, verified)).verdict is AttackOutcome.UNCLEAR


def test_selection_is_by_theme_name_or_both() -> None:
    assert select_attacks(()) == ALL_ATTACKS
    assert {attack.theme for attack in select_attacks(["time"])} == {Theme.TIME}
    assert [attack.name for attack in select_attacks(["fork", "files/existence"])] == [
        "existence",
        "fork",
    ]
    with pytest.raises(UserError, match="--list"):
        select_attacks(["nonsense"])


def test_the_list_shows_every_attack_and_runs_none() -> None:
    result = CliRunner(env={"COLUMNS": "120"}).invoke(APP, ["redteam", "--list"])
    assert result.exit_code == 0
    assert all(f"{attack.theme}/{attack.name}" in result.output for attack in ALL_ATTACKS)


def test_the_help_has_examples() -> None:
    result = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"}).invoke(APP, ["redteam", "--help"])
    assert "evocodec redteam --mode pod" in result.output


def test_the_documentation_has_the_table_of_these_attacks() -> None:
    page = Path(__file__).parents[2] / "docs" / "redteam.md"
    assert markdown_table(ALL_ATTACKS) in page.read_text(encoding="utf-8")
    assert channel_table(CHANNELS) in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/redteam.md"])
def test_a_page_says_how_many_attacks_there_are(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    assert re.findall(r"(\d+) (?:attacks on it|candidates that each)", text) == [
        str(len(ALL_ATTACKS))
    ]
