"""Events of every kind, with values that are not easily taken for one another."""

from fractions import Fraction
from typing import Any

from evocodec.domain.candidate import CandidateStatus, Finding, Origin, Verdict
from evocodec.domain.errors import FailureKind
from evocodec.domain.events import (
    Adopted,
    AnchorReady,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    CodeWritten,
    Evaluated,
    Event,
    HeldOutTested,
    InfrastructureRetried,
    Judged,
    ModelCalled,
    ModelNoted,
    Planned,
    PointMeasured,
    Reviewed,
    RunStarted,
    RunStopped,
    Screened,
    StageStarted,
)
from evocodec.domain.results import (
    BdRate,
    ClipScore,
    Cost,
    HeldOutResult,
    Interval,
    Quality,
    RatePoint,
    RdCurve,
    Score,
    ScreenResult,
    Stage,
)
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import (
    CallOutcome,
    GateRule,
    ModelRole,
    NoteSubject,
    Proposer,
    RunOutcome,
    VerdictRule,
)

AT = "2026-01-02T03:04:05.678Z"


def one_of_each_kind(run_id: str = "run-1") -> list[Event]:
    """Every kind once, every field away from its default where it has one."""
    quality = Quality(38.5, 41.0, 42.25, 39.3, None, 36.125)
    point = RatePoint("city", 30.5, 123_456, 24, quality, Cost(1.5, 1.4, 0.5, 0.4, 2**28, 24), "ab")
    curve = RdCurve("c0001", "city", (point,))
    clip = ClipScore("city", curve, BdRate(-12.5, -12.4, 0.75), 38.5, 1e6, 8.5e5, 0.85, 21.5)
    score = Score(8.5, 21.5, -12.5, "city", 0.85, 2.5, 9.5, 2**28, 4096, (clip,))
    screen = ScreenResult(0.91, {"city": 0.91}, "c0000", passed=True, reason="9 % fewer bits")
    held_out = HeldOutResult(
        True, "gain kept", "v1", 15.0, 12.5, Interval(8.0, 17.0, 0.9, 3), 3, "ff" * 32
    )
    verdict = Verdict(True, VerdictRule.BITRATE, "15 % fewer bits", "v0", 15.0, 8.5, 21.5)
    run: Any = {"run_id": run_id, "at": AT}
    of: Any = {**run, "candidate_id": "c0001"}
    return [
        RunStarted(
            **run,
            proposer=Proposer.MUTATION,
            seed=7,
            clips=("city", "dog"),
            settings={"run.minutes": "5"},
            software={"python": "3.11"},
            isolation={"seccomp": "on"},
            unsafe=True,
            resumed=1,
        ),
        AnchorReady(
            **run,
            curve=curve,
            stream=StreamInfo(35, 21, Fraction(30000, 1001), 24),
            operating_psnr_y_db=38.5,
            cached=True,
            clip_sha256="ab" * 32,
        ),
        CandidateOpened(**of, parent_id="c0000", number=1),
        Planned(
            **of,
            origin=Origin.MUTATION,
            hypothesis="larger blocks",
            steps=("one", "two"),
            edits=(("BLOCK", "32"),),
        ),
        ModelCalled(
            **of,
            role=ModelRole.CODER,
            attempt=0,
            model="m",
            prompt_sha256="aa",
            template_sha256="bb",
            reply_sha256="cc",
            outcome=CallOutcome.OK,
            prompt_tokens=100,
            completion_tokens=200,
            cost_usd=0.25,
            wall_seconds=1.5,
        ),
        ModelNoted(
            **of,
            role=ModelRole.CODER,
            attempt=0,
            subject=NoteSubject.WAITING,
            text="rate limit: slow down",
            seconds=34.0,
        ),
        CodeWritten(**of, attempt=0, source_sha256="dd" * 32, program_bytes=4096, note="n"),
        Reviewed(**of, attempt=0, accepted=False, findings=(Finding(GateRule.IMPORT, "no os", 3),)),
        StageStarted(**of, attempt=0, stage=Stage.FULL, resumed=2),
        PointMeasured(**of, attempt=0, stage=Stage.FULL, task="c0001/city/q30", point=point),
        InfrastructureRetried(**of, task="c0001/city/q30", retry=1, reason="worker lost"),
        AttemptFailed(
            **of,
            attempt=0,
            stage=Stage.SMOKE,
            failure=FailureKind.TIMEOUT,
            message="120 s",
            detail="…\x00",
        ),
        Screened(**of, attempt=0, result=screen),
        Evaluated(**of, attempt=0, score=score),
        HeldOutTested(**of, attempt=0, result=held_out),
        Judged(**of, verdict=verdict),
        Adopted(**of, version=1, commit="ee" * 20, tag="v1", pushed=False, push_error="offline"),
        CandidateClosed(
            **of, status=CandidateStatus.ADOPTED, reason="better", experiment_id="real_exp_1"
        ),
        RunStopped(
            **run, outcome=RunOutcome.FINISHED, message="done", resumed=1, counts={"adopted": 1}
        ),
    ]


YOUNGER_THAN_FORMAT_1 = {"held_out_tested", "model_noted"}
OLD_KINDS = [event.kind for event in one_of_each_kind() if event.kind not in YOUNGER_THAN_FORMAT_1]


def opened(number: int, run_id: str = "run-1") -> CandidateOpened:
    return CandidateOpened(
        run_id=run_id, at=AT, candidate_id=f"c{number:04}", parent_id="", number=number
    )
