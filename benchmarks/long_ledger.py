"""A ledger of a long toy run, made of real events in the real SQLite file: for measuring readers.

Fourteen events a candidate on average: most are screened out, one in ten is evaluated in full, one
in ten fails, a few are adopted.
"""

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus, Origin, Verdict
from evocodec.domain.errors import FailureKind
from evocodec.domain.program import ProgramFacts
from evocodec.domain.results import (
    BdRate,
    ClipScore,
    Cost,
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
    ModelRole,
    Proposer,
    ReviewerName,
    VerdictRule,
)
from evocodec.store.blobs import FileBlobStore
from evocodec.store.sqlite.ledger import SqliteLedger

CLIP = "toy"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_RULES = {True: VerdictRule.BITRATE, False: VerdictRule.NOT_ENOUGH}
_ADOPT_EVERY, _FULL_EVERY, _FAIL_EVERY = 500, 10, 10


class LongRun:
    """The events of one run of ``candidates`` candidates, the last of them still open.

    ``facts`` False leaves out what parsing found, as ledgers before 0.2 do; the programs' texts
    are in ``programs`` by their hash.
    """

    def __init__(
        self, source: str, candidates: int, *, facts: bool = True, run_id: str = "run-long"
    ) -> None:
        self.run_id = run_id
        self.programs: dict[str, str] = {}
        self._source = source
        self._candidates = candidates
        self._facts = facts
        self._seconds = 0.0
        self._rng = random.Random(candidates)
        self._champion, self._version, self._bitrate = "c0001", 0, 14.0

    def events(self) -> Iterator[ev.Event]:
        """Every event in order."""
        yield self._make(
            ev.RunStarted,
            proposer=Proposer.MODEL,
            seed=1,
            clips=(CLIP,),
            settings={"model.model": "toy", "run.minutes": "600"},
            software={"python": "3.11"},
            isolation={"level": "namespaces"},
        )
        yield self._make(
            ev.AnchorReady,
            curve=self._curve("x265-medium"),
            stream=StreamInfo(96, 80, Fraction(25), 8),
            operating_psnr_y_db=36.5,
            cached=True,
            clip_sha256="ab" * 32,
        )
        for number in range(1, self._candidates + 1):
            yield from self._candidate(number)

    def _candidate(self, number: int) -> Iterator[ev.Event]:
        name = f"c{number:04d}"
        yield from self._written(name, number)
        yield self._make(ev.StageStarted, name, attempt=0, stage=Stage.SMOKE)
        yield self._point(name, Stage.SMOKE, 30)
        if number % _FAIL_EVERY == 3:
            yield self._make(
                ev.AttemptFailed,
                name,
                attempt=0,
                stage=Stage.SMOKE,
                failure=FailureKind.EXCEPTION,
                message="IndexError in decode: index 7 is out of bounds",
                detail="Traceback (most recent call last):\n" + "  File candidate\n" * 10,
            )
            yield self._close(name, CandidateStatus.TEST_FAILED, "exception: IndexError in decode")
            return
        full = number == 1 or number % _FULL_EVERY == 0
        if number > 1:
            yield from self._screened(name, passed=full)
        if number == self._candidates:
            return  # still open
        if full:
            yield from self._evaluated(name, adopt=number == 1 or number % _ADOPT_EVERY == 0)
        else:
            yield self._judged(name, adopt=False, rule=VerdictRule.SCREEN)
            yield self._close(name, CandidateStatus.REJECTED, "estimated 1.0 % more bits")

    def _written(self, name: str, number: int) -> Iterator[ev.Event]:
        text = self._source + f"\n# {name}\nCHANGE = {number}\n"
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.programs[sha256] = text
        parent = self._champion if number > 1 else ""
        yield self._make(ev.CandidateOpened, name, parent_id=parent, number=number)
        if number > 1:
            yield self._called(name, ModelRole.PLANNER)
        yield self._make(
            ev.Planned,
            name,
            origin=Origin.MODEL if number > 1 else Origin.SEED,
            hypothesis="quarter-sample motion finds matches that half-sample motion misses",
            steps=("add a filter of six taps", "search around the best half-sample position"),
        )
        if number > 1:
            yield self._called(name, ModelRole.CODER)
        yield self._make(
            ev.CodeWritten,
            name,
            attempt=0,
            source_sha256=sha256,
            program_bytes=len(text),
            note="as planned",
            facts=_facts(number) if self._facts else None,
        )
        if number > 1:
            yield self._called(name, ModelRole.REVIEWER)
        yield self._make(ev.Reviewed, name, attempt=0, accepted=True, reviewer=ReviewerName.MODEL)

    def _screened(self, name: str, *, passed: bool) -> Iterator[ev.Event]:
        yield self._make(ev.StageStarted, name, attempt=0, stage=Stage.SCREEN)
        yield self._point(name, Stage.SCREEN, 28)
        ratio = self._rng.uniform(0.85, 0.9) if passed else self._rng.uniform(0.95, 1.1)
        reason = f"estimated {100 * (1 - ratio):+.1f} % fewer bits than {self._champion}"
        result = ScreenResult(ratio, {CLIP: ratio}, self._champion, passed, reason)
        yield self._make(ev.Screened, name, attempt=0, result=result)

    def _evaluated(self, name: str, *, adopt: bool) -> Iterator[ev.Event]:
        yield self._make(ev.StageStarted, name, attempt=0, stage=Stage.FULL)
        for qp in (22, 26, 30, 34):
            yield self._point(name, Stage.FULL, qp)
        self._bitrate *= 0.99 if adopt else 1.0
        yield self._make(ev.Evaluated, name, attempt=0, score=self._score(self._bitrate))
        yield self._judged(name, adopt=adopt, rule=_RULES[adopt])
        if not adopt:
            yield self._close(name, CandidateStatus.REJECTED, "4.2 % fewer bits; 10 % are needed")
            return
        self._version += 1
        self._champion = name
        tag = f"v{self._version}"
        yield self._make(
            ev.Adopted, name, version=self._version, commit="c0ffee" * 6, tag=tag, pushed=False
        )
        yield self._close(name, CandidateStatus.ADOPTED, "12.1 % fewer bits")

    def _make(self, cls: type, candidate_id: str = "", **fields: Any) -> ev.Event:
        self._seconds += 0.1
        at = (START + timedelta(seconds=self._seconds)).isoformat(timespec="milliseconds")
        event: ev.Event = cls(run_id=self.run_id, at=at, candidate_id=candidate_id, **fields)
        return event

    def _called(self, name: str, role: ModelRole) -> ev.Event:
        sha256 = hashlib.sha256(f"{name}/{role}".encode()).hexdigest()
        return self._make(
            ev.ModelCalled,
            name,
            role=role,
            attempt=0,
            model="toy",
            prompt_sha256=sha256,
            template_sha256=sha256,
            reply_sha256=sha256,
            outcome=CallOutcome.OK,
            prompt_tokens=5200,
            completion_tokens=3100,
            cost_usd=0.021,
            wall_seconds=2.5,
        )

    def _point(self, name: str, stage: Stage, qp: float) -> ev.Event:
        task = f"{name}/{CLIP}/q{qp:g}"
        point = _rate_point(qp)
        return self._make(ev.PointMeasured, name, attempt=0, stage=stage, task=task, point=point)

    def _judged(self, name: str, *, adopt: bool, rule: VerdictRule) -> ev.Event:
        verdict = Verdict(adopt, rule, "by rule", f"v{self._version}", 4.2, self._bitrate, 40.0)
        return self._make(ev.Judged, name, verdict=verdict)

    def _close(self, name: str, status: CandidateStatus, reason: str) -> ev.Event:
        experiment = f"real_exp_{name}"
        return self._make(
            ev.CandidateClosed, name, status=status, reason=reason, experiment_id=experiment
        )

    def _curve(self, codec: str) -> RdCurve:
        return RdCurve(codec, CLIP, tuple(_rate_point(qp) for qp in (34, 30, 26, 22)))

    def _score(self, bitrate_mbps: float) -> Score:
        ratio = bitrate_mbps / 10
        clip = ClipScore(
            clip=CLIP,
            curve=self._curve("candidate"),
            bd_rate=BdRate(100 * (ratio - 1), 100 * (ratio - 1), 0.9),
            operating_psnr_y_db=36.5,
            anchor_bits=3e5,
            candidate_bits=3e5 * ratio,
            rate_ratio=ratio,
            compression_ratio=40 / ratio,
        )
        return Score(
            bitrate_mbps=bitrate_mbps,
            compression_ratio=40 / ratio,
            bd_rate_percent=100 * (ratio - 1),
            worst_clip=CLIP,
            worst_clip_ratio=ratio,
            encode_fps=14.8,
            decode_fps=61.0,
            peak_memory_bytes=210 * 2**20,
            program_bytes=3000,
            clips=(clip,),
        )


def _rate_point(qp: float) -> RatePoint:
    quality = Quality(40 - 0.6 * (qp - 22), 43.0, 43.0, 41.0, 0.97, 38.0)
    bits = int(400_000 * 2 ** ((22 - qp) / 6))
    return RatePoint(CLIP, qp, bits, 8, quality, Cost(0.5, 0.4, 0.2, 0.1, 180 * 2**20, 8))


def _facts(number: int) -> ProgramFacts:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    tunables = tuple((f"MARK_{mark:02d}", str((number + mark) % 7)) for mark in range(14))
    return ProgramFacts(digest, digest, tunables, 1200)


def write_long_ledger(
    workspace: Path, source: str, candidates: int, *, facts: bool = True, blobs: bool = False
) -> LongRun:
    """Write the run into a new workspace; its programs too with ``blobs``."""
    path = workspace / "ledger.sqlite"
    run = LongRun(source, candidates, facts=facts)
    with closing(SqliteLedger(path)) as ledger:
        # A flush to the disk for each event would take a minute for what is thrown away again.
        assert isinstance(ledger._connection, sqlite3.Connection)
        ledger._connection.execute("PRAGMA synchronous=OFF")
        for event in run.events():
            ledger.record(event)
    if blobs:
        store = FileBlobStore(workspace / "blobs")
        for text in run.programs.values():
            store.put(text.encode())
    return run
