"""A small run, told in events: two versions, a rejection, a hostile failure, two in flight."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from hashlib import sha256

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus, Finding, Origin, Verdict
from evocodec.domain.errors import FailureKind
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

RUN = "r-20261123-101500"
CLIPS = ("carphone", "city")
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]not markup[/]\x1b[31mred\x9b5m\rrewritten"
START = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)


def program(number: int) -> str:
    """Return the text of a candidate's program; the third is hostile even in its source."""
    note = HOSTILE if number == 3 else "calm"
    return f"# {note}\nBLOCK = 16\nDEBLOCK_STRENGTH = {number}\n"


class Clock:
    """Hands out timestamps, two seconds apart."""

    def __init__(self) -> None:
        self.ticks = 0

    def __call__(self) -> str:
        self.ticks += 1
        moment = START + timedelta(seconds=2 * self.ticks)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def quality(psnr_y_db: float) -> Quality:
    return Quality(psnr_y_db, psnr_y_db + 3, psnr_y_db + 3, psnr_y_db + 1, 0.97, psnr_y_db - 1)


def point(clip: str, qp: float, scale: float = 1.0) -> RatePoint:
    bits = int(scale * 400_000 * 2 ** ((30 - qp) / 6))
    cost = Cost(1.6, 1.5, 0.4, 0.4, 180 * 2**20, 24)
    return RatePoint(clip, qp, bits, 24, quality(36 - (qp - 30) * 0.6), cost)


def curve(codec: str, clip: str, scale: float = 1.0) -> RdCurve:
    return RdCurve(codec, clip, tuple(point(clip, qp, scale) for qp in (38, 32, 26, 20)))


def score(bitrate_mbps: float) -> Score:
    ratio = bitrate_mbps / 10
    clips = tuple(
        ClipScore(
            clip=clip,
            curve=curve("candidate", clip, ratio * spread),
            bd_rate=BdRate((ratio * spread - 1) * 100, (ratio * spread - 1) * 101, 0.93),
            operating_psnr_y_db=36.5,
            anchor_bits=300_000.0,
            candidate_bits=300_000.0 * ratio * spread,
            rate_ratio=ratio * spread,
            compression_ratio=40 / ratio / spread,
        )
        for clip, spread in zip(CLIPS, (0.95, 1 / 0.95), strict=True)
    )
    return Score(
        bitrate_mbps=bitrate_mbps,
        compression_ratio=40 / ratio,
        bd_rate_percent=(ratio - 1) * 100,
        worst_clip="city",
        worst_clip_ratio=ratio / 0.95,
        encode_fps=14.8,
        decode_fps=61.0,
        peak_memory_bytes=210 * 2**20,
        program_bytes=18_204,
        clips=clips,
    )


class Story:
    """Makes the events of one run, in order."""

    def __init__(self, run_id: str = RUN) -> None:
        self.run_id = run_id
        self.at = Clock()

    def _make(self, cls: type, candidate_id: str = "", **fields: object) -> ev.Event:
        return cls(run_id=self.run_id, at=self.at(), candidate_id=candidate_id, **fields)

    def beginning(self) -> Iterator[ev.Event]:
        yield self._make(
            ev.RunStarted,
            proposer=Proposer.MUTATION,
            seed=1,
            clips=CLIPS,
            settings={"run.minutes": "4.0"},
            software={"python": "3.11.7", "ray": "2.60.0"},
            isolation={"level": "namespaces", "landlock": "yes"},
        )
        for clip in CLIPS:
            yield self._make(
                ev.AnchorReady,
                curve=curve("x265-medium", clip),
                stream=StreamInfo(240, 135, Fraction(25), 24),
                operating_psnr_y_db=36.5,
                cached=clip == "city",
                clip_sha256="ab" * 32,
            )

    def opening(self, candidate: str, parent: str, hypothesis: str) -> Iterator[ev.Event]:
        number = int(candidate[1:])
        yield self._make(ev.CandidateOpened, candidate, parent_id=parent, number=number)
        yield self._make(
            ev.Planned,
            candidate,
            origin=Origin.MUTATION if parent else Origin.SEED,
            hypothesis=hypothesis,
            edits=(("DEBLOCK_STRENGTH", "3"),) if parent else (),
        )
        yield self._make(
            ev.CodeWritten,
            candidate,
            attempt=0,
            source_sha256=sha256(program(number).encode()).hexdigest(),
            program_bytes=18_204,
        )
        yield self._make(ev.Reviewed, candidate, attempt=0, accepted=True)
        yield self._make(ev.StageStarted, candidate, attempt=0, stage=Stage.SMOKE)
        yield self._points(candidate, Stage.SMOKE, CLIPS[0], 30)

    def _points(self, candidate: str, stage: Stage, clip: str, qp: float) -> ev.Event:
        return self._make(
            ev.PointMeasured,
            candidate,
            attempt=0,
            stage=stage,
            task=f"{candidate}/{clip}/q{qp:g}",
            point=point(clip, qp),
        )

    def screening(self, candidate: str, ratio: float, reference: str) -> Iterator[ev.Event]:
        yield self._make(ev.StageStarted, candidate, attempt=0, stage=Stage.SCREEN)
        for clip in CLIPS:
            yield self._points(candidate, Stage.SCREEN, clip, 28)
        fewer = (1 - ratio) * 100
        result = ScreenResult(
            rate_ratio=ratio,
            per_clip=dict.fromkeys(CLIPS, ratio),
            reference_id=reference,
            passed=ratio < 0.92,
            reason=f"estimated {fewer:.1f} % fewer bits than {reference} on 9 frames",
        )
        yield self._make(ev.Screened, candidate, attempt=0, result=result)

    def full(self, candidate: str, *, points: int = 8) -> Iterator[ev.Event]:
        yield self._make(ev.StageStarted, candidate, attempt=0, stage=Stage.FULL)
        jobs = [(clip, qp) for clip in CLIPS for qp in (20, 26, 32, 38)]
        for clip, qp in jobs[:points]:
            yield self._points(candidate, Stage.FULL, clip, qp)

    def adoption(
        self, candidate: str, version: int, mbps: float, before: str
    ) -> Iterator[ev.Event]:
        yield self._make(ev.Evaluated, candidate, attempt=0, score=score(mbps))
        improvement = (10 - mbps) * 10 if version == 1 else 14.6
        verdict = Verdict(
            adopt=True,
            rule=VerdictRule.FIRST_CHANCE if version == 1 else VerdictRule.BITRATE,
            reason=f"{mbps:.2f} Mbit/s at equal quality, {improvement:.1f} % better than {before}",
            compared_with=before,
            improvement_percent=improvement,
            bitrate_mbps=mbps,
            compression_ratio=400 / mbps,
        )
        held_out = HeldOutResult(
            passed=True,
            reason="11.2 % of 14.6 % gained remain on 2 clips",
            compared_with=before,
            development_gain_percent=improvement,
            held_out_gain_percent=11.2,
            interval_percent=Interval(9.0, 13.5, 0.9, 2),
            clips=2,
            seed_sha256=sha256(candidate.encode()).hexdigest(),
            bitrate_mbps=9.87,
        )
        yield self._make(ev.HeldOutTested, candidate, attempt=0, result=held_out)
        yield self._make(ev.Judged, candidate, verdict=verdict)
        yield self._make(
            ev.Adopted,
            candidate,
            version=version,
            commit=f"{version}c0ffee" * 5,
            tag=f"v{version}",
            pushed=False,
        )
        yield self.close(candidate, CandidateStatus.ADOPTED, verdict.reason)

    def close(self, candidate: str, status: CandidateStatus, reason: str) -> ev.Event:
        return self._make(
            ev.CandidateClosed,
            candidate,
            status=status,
            reason=reason,
            experiment_id=f"real_exp_{candidate}",
        )

    def rejection(self, candidate: str, reason: str) -> Iterator[ev.Event]:
        verdict = Verdict(adopt=False, rule=VerdictRule.SCREEN, reason=reason, compared_with="v1")
        yield self._make(ev.Judged, candidate, verdict=verdict)
        yield self.close(candidate, CandidateStatus.REJECTED, reason)

    def failure(self, candidate: str) -> Iterator[ev.Event]:
        finding = Finding(GateRule.IMPORT, f"imports socket {HOSTILE}", 3)
        yield self._make(ev.Reviewed, candidate, attempt=1, accepted=False, findings=(finding,))
        message = f"IndexError in decode {HOSTILE}"
        yield self._make(
            ev.AttemptFailed,
            candidate,
            attempt=0,
            stage=Stage.SMOKE,
            failure=FailureKind.EXCEPTION,
            message=message,
            detail=f"Traceback (most recent call last):\n  File {HOSTILE}\nIndexError: 7",
        )
        yield self.close(candidate, CandidateStatus.TEST_FAILED, f"exception: {message}")

    def model_call(self, candidate: str) -> ev.Event:
        return self._make(
            ev.ModelCalled,
            candidate,
            role=ModelRole.CODER,
            attempt=0,
            model="some/model",
            prompt_sha256="aa" * 32,
            template_sha256="bb" * 32,
            reply_sha256="cc" * 32,
            outcome=CallOutcome.OK,
            prompt_tokens=5_200,
            completion_tokens=3_100,
            cost_usd=0.021,
            wall_seconds=12.5,
        )

    def waits(self, candidate: str) -> ev.Event:
        return self._make(
            ev.ModelNoted,
            candidate,
            role=ModelRole.CODER,
            attempt=0,
            subject=NoteSubject.WAITING,
            text=f"rate limit: {HOSTILE}",
            seconds=34.0,
        )

    def retry(self, candidate: str) -> ev.Event:
        return self._make(
            ev.InfrastructureRetried,
            candidate,
            task=f"{candidate}/city/q26/encode",
            retry=1,
            reason="the worker died",
        )

    def stop(self, outcome: RunOutcome = RunOutcome.FINISHED) -> ev.Event:
        counts = {"adopted": 2, "rejected": 1, "test_failed": 1}
        return self._make(ev.RunStopped, outcome=outcome, counts=counts)


def story(run_id: str = RUN) -> list[ev.Event]:
    """Return a run that is still going on."""
    s = Story(run_id)
    return [
        *s.beginning(),
        *s.opening("c0001", "", "the seed program inter"),
        *s.full("c0001"),
        *s.adoption("c0001", 1, 11.24, "HEVC (v0)"),
        *s.opening("c0002", "c0001", "stronger deblocking saves residual bits"),
        s.waits("c0002"),
        s.model_call("c0002"),
        *s.screening("c0002", 0.969, "c0001"),
        *s.rejection("c0002", "estimated 3.1 % fewer bits than c0001; at least 8 % are needed"),
        *s.opening("c0003", "c0001", f"hostile {HOSTILE}"),
        *s.failure("c0003"),
        *s.opening("c0004", "c0001", "quarter-pel motion and a wider search"),
        *s.screening("c0004", 0.861, "c0001"),
        *s.full("c0004"),
        s.retry("c0004"),
        *s.adoption("c0004", 2, 9.6, "v1"),
        *s.opening("c0005", "c0004", "larger blocks where motion is smooth"),
        *s.screening("c0005", 0.905, "c0004"),
        *s.full("c0005", points=3),
        *s.opening("c0006", "c0004", "adaptive contexts for skip flags"),
    ]


def finished(run_id: str = RUN) -> list[ev.Event]:
    """Return the same run, stopped by a person, with its last candidates still open."""
    events = story(run_id)
    last = datetime.fromisoformat(events[-1].at)
    stop = Story(run_id).stop(RunOutcome.INTERRUPTED)
    at = (last + timedelta(seconds=2)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [*events, replace(stop, at=at)]


def fruitless(run_id: str = RUN) -> list[ev.Event]:
    """Return a run that adopted nothing."""
    s = Story(run_id)
    seed = [*s.beginning(), *s.opening("c0001", "", "the seed program inter"), *s.full("c0001")]
    verdict = Verdict(
        adopt=False,
        rule=VerdictRule.NOT_ENOUGH,
        reason="16.20 Mbit/s at equal quality; a first version needs less than 15",
        compared_with="HEVC (v0)",
        improvement_percent=-62.0,
        bitrate_mbps=16.2,
        compression_ratio=24.7,
    )
    return [
        *seed,
        s._make(ev.Evaluated, "c0001", attempt=0, score=score(16.2)),
        s._make(ev.Judged, "c0001", verdict=verdict),
        s.close("c0001", CandidateStatus.REJECTED, verdict.reason),
        s.stop(),
    ]
