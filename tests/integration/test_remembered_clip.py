"""A program whose text holds a development clip, through a real run.

It is the seed, and two thirds of the bitstreams that the seed makes of that clip.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from evocodec.app.programs import built_in
from evocodec.app.runs import perform_run
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import FailureKind
from evocodec.domain.results import Stage
from evocodec.domain.vocabulary import GateRule, VerdictRule
from evocodec.evaluation.rate_plan import FIRST_QPS
from evocodec.store.records import Evolution
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import load_clip
from evocodec.views.candidate import CandidateView
from tests.support.toy_laboratory import CARPHONE, local_laboratory

FRAMES = 5
REMEMBERED = 0.65  # of each stream; the packets carry the rest
QPS = (*FIRST_QPS, 31.5, 41.5)  # what the protocol asks of the seed on these frames


def memo(qps: Sequence[float]) -> str:
    """The seed program, which leaves out of its packets what its text already has."""
    inter: Any = import_module("evocodec.codec.seeds.inter")
    clip = load_clip(ClipSource("carphone", CARPHONE, frames=FRAMES, scale=(96, 80)))
    tails = []
    for qp in qps:
        (stream,) = inter.encode(iter(clip.frames), clip.stream, qp)
        tails.append(stream[-int(REMEMBERED * len(stream)) :].hex())
    text = built_in("inter")
    for name in ("encode", "decode"):
        assert text.count(f"\ndef {name}(") == 1
        text = text.replace(f"\ndef {name}(", f"\ndef honest_{name}(")
    return f"""{text}

TAILS = {tails!r}
KNOWN = [bytes.fromhex(tail) for tail in TAILS]


def encode(frames: Iterator[Frame], stream: StreamInfo, qp: float) -> Iterator[bytes]:
    whole = b"".join(honest_encode(frames, stream, qp))
    for number, tail in enumerate(KNOWN):
        if whole.endswith(tail):
            yield bytes([number]) + whole[: -len(tail)]
            return
    yield bytes([255]) + whole


def decode(packets: Iterator[bytes], stream: StreamInfo) -> Iterator[Frame]:
    packet = next(packets)
    tail = b"" if packet[0] == 255 else KNOWN[packet[0]]
    yield from honest_decode(iter([packet[1:] + tail]), stream)
"""


def run_of(folder: Path, program: str, **changes: Any) -> tuple[CandidateView, Evolution]:
    """A run that begins with the program, and ends with it: the candidate and its record."""
    path = folder / "memo.py"
    path.write_text(program)
    settings: dict[str, Any] = {
        "run__program": str(path),
        "run__candidates": 1,
        "evaluation__clips": [f"{CARPHONE}@0-{FRAMES}:96x80"],
        "judge__chance_first_below_mbps": 15.0,
        "held_out__enabled": True,
        "held_out__derived": 1,
        "held_out__derived_most": 1,
        "held_out__frames": 4,
    }
    with local_laboratory(folder / "w", **settings | changes) as lab:
        (candidate,) = perform_run(lab).candidates
        record = lab.records.get(candidate.experiment_id)
        assert record is not None
        assert lab.champions.versions() == ()
    return candidate, record["experiments"][0]["evolution"]


@pytest.fixture(scope="module")
def program() -> str:
    return memo(QPS)


def test_it_is_refused_before_anything_runs_and_the_record_says_why(
    program: str, tmp_path: Path
) -> None:
    candidate, evolution = run_of(tmp_path, program)
    assert candidate.status is CandidateStatus.TEST_FAILED
    assert candidate.failure is not None
    assert (candidate.failure.stage, candidate.failure.kind) == (Stage.REVIEW, FailureKind.REVIEW)
    assert GateRule.LITERAL in {f.rule for review in candidate.reviews for f in review.findings}
    assert "bitstreams out of the program" in candidate.reason
    assert evolution["reason"] == candidate.reason
    assert evolution["metrics"] == {}


def test_with_the_limits_on_its_text_off_it_gains_on_its_clip_and_is_overfitted(
    program: str, tmp_path: Path
) -> None:
    candidate, evolution = run_of(
        tmp_path,
        program,
        sandbox__max_literal_kib=1000.0,
        limits__max_program_kib=0.0,
        limits__charge_program=False,
    )
    assert candidate.score is not None
    assert candidate.status is CandidateStatus.REJECTED
    assert candidate.verdict is not None
    assert candidate.verdict.rule is VerdictRule.OVERFITTED
    assert candidate.score.bitrate_mbps < 9.0  # with which it would be adopted
    assert candidate.held_out is not None
    assert candidate.held_out.bitrate_mbps is not None
    assert candidate.held_out.bitrate_mbps > 1.5 * candidate.score.bitrate_mbps
    assert evolution["rule"] == VerdictRule.OVERFITTED
    assert "did not survive on held-out clips" in evolution["reason"]
