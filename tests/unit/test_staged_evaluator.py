"""The stages' logic on a simulated engine: what is asked for, recorded, skipped and passed on."""

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np
import pytest

from evocodec.codec.program import Program
from evocodec.curves.rd_curve import make_curve
from evocodec.domain.errors import (
    CandidateFailure,
    FailureKind,
    InfrastructureFailure,
    Interrupted,
)
from evocodec.domain.events import Evaluated, Event, PointMeasured
from evocodec.domain.results import Cost, Quality, RatePoint, RdCurve, Stage
from evocodec.domain.video import Frame, StreamInfo
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.execution.contract import EngineInfo, OnPoint, OnRetry
from evocodec.execution.jobs import RateJob
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, make_clip
from tests.support.default_options import default_stage_settings

PROGRAM = "# a program\n"


def clip(name: str, width: int, height: int) -> Clip:
    stream = StreamInfo(width, height, Fraction(30), 12)
    luma = np.zeros((height, width), np.uint8)
    chroma = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
    return make_clip(ClipSource(name, ""), stream, (Frame(luma, chroma, chroma),) * 12)


CLIPS = {"big": clip("big", 64, 48), "small": clip("small", 35, 21)}


def quality(psnr_y_db: float) -> Quality:
    return Quality(psnr_y_db, psnr_y_db, psnr_y_db, psnr_y_db, None, psnr_y_db)


def point(name: str, qp: float, frames: int, *, scale: float = 1.0, shift: float = 0) -> RatePoint:
    """An ideal codec: 6 dB and half the bits for every 12 qp; ``shift`` moves its qp scale."""
    psnr_y_db = 56 - (qp + shift) / 2
    bits = round(scale * frames * 40_000 * 2 ** (-(qp + shift) / 6))
    return RatePoint(name, qp, bits, frames, quality(psnr_y_db), Cost(frames=frames))


def anchor(name: str) -> RdCurve:
    return make_curve("x265", name, [point(name, qp, 12) for qp in (16, 20, 24, 28, 32, 36)])


@dataclass
class SimulatedEngine:
    """Answers from a formula; keeps what it was asked."""

    scale: float = 1.0
    shift: float = 0.0
    die_after: int = 10_000
    failure: Exception | None = None
    asked: list[tuple[str, RateJob]] = field(default_factory=list)
    verified: list[RateJob] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def start(self) -> EngineInfo:
        raise NotImplementedError

    def put_clip(self, clip: Clip) -> None:
        self.known.add(clip.name)

    def slots(self) -> int:
        return 2

    def busy(self) -> int:
        return 0

    def waiting(self) -> int:
        return 0

    def close(self) -> None:
        raise NotImplementedError

    def run_jobs(
        self,
        candidate_id: str,
        source: str,
        jobs: Sequence[RateJob],
        *,
        on_point: OnPoint,
        on_retry: OnRetry,
        stop: threading.Event | None = None,
        verify: bool = False,
    ) -> None:
        if stop is not None and stop.is_set():
            raise Interrupted(candidate_id)
        for job in jobs:
            assert job.clip in self.known
            if len(self.asked) >= self.die_after:
                raise self.failure or ZeroDivisionError
            self.asked.append((candidate_id, job))
            measured = point(job.clip, job.qp, job.frames, scale=self.scale, shift=self.shift)
            if verify:
                self.verified.append(job)
            on_point(job, replace(measured, verified=verify))


@dataclass
class Bench:
    """An evaluator, and the ledger that it writes."""

    engine: SimulatedEngine
    events: dict[str, Event] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def evaluator(self, **settings: Any) -> StagedEvaluator:
        ticks = count()
        return StagedEvaluator(
            self.engine,
            run_id="r",
            clips=CLIPS,
            anchors={name: anchor(name) for name in CLIPS},
            operating_db={name: point(name, 26, 12).quality.psnr_y_db for name in CLIPS},
            record=self.record,
            recorded=self.events.get,
            now=lambda: f"2026-01-01T00:00:{next(ticks):02}.000",
            settings=default_stage_settings(**settings),
            stop=self.stop,
        )

    def record(self, event: Event) -> None:
        assert event.key not in self.events, f"{event.key} was recorded twice"
        self.events[event.key] = event

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events.values()]


def test_smoke_measures_three_frames_of_the_smallest_clip_and_of_a_probe_and_verifies_both() -> (
    None
):
    bench = Bench(SimulatedEngine())
    bench.evaluator().smoke("c1", 0, Program(PROGRAM))
    smallest, probe = (job for _, job in bench.engine.asked)
    assert smallest == RateJob(Stage.SMOKE, "small", 3, 30.0)
    assert (probe.stage, probe.clip, probe.frames) == (Stage.SMOKE, "probe", 3)
    assert bench.engine.verified == [smallest, probe]
    assert bench.kinds() == ["stage_started", "point_measured", "point_measured"]


def test_full_scores_a_codec_that_needs_half_the_bits_at_five() -> None:
    bench = Bench(SimulatedEngine(scale=0.5))
    score = bench.evaluator().full("c1", 0, Program(PROGRAM))
    assert score.bitrate_mbps == pytest.approx(5.0, rel=1e-3)
    assert score.program_bytes == len(PROGRAM)
    assert bench.kinds()[-1] == "evaluated"
    assert bench.kinds().count("stage_started") == 1


def test_full_asks_for_further_rates_until_the_curve_reaches_the_operating_quality() -> None:
    bench = Bench(SimulatedEngine(shift=24.0))  # its qp 2 is the anchor's 26
    score = bench.evaluator(max_points=12).full("c1", 0, Program(PROGRAM))
    assert score.bitrate_mbps == pytest.approx(10.0, rel=1e-3)
    asked = {job.qp for _, job in bench.engine.asked}
    assert min(asked) < 2 < 20 <= max(asked)
    assert bench.kinds().count("stage_started") == 1


RELATIVE = {name: anchor(name).points for name in CLIPS}
"""Curves of a relative, which place the first rates."""


def test_full_places_its_rates_by_a_relatives_curve() -> None:
    bench = Bench(SimulatedEngine(shift=1.0))
    bench.evaluator().full("c1", 0, Program(PROGRAM), RELATIVE)
    for name in CLIPS:
        qps = sorted(job.qp for _, job in bench.engine.asked if job.clip == name)
        assert len(qps) == 4
        assert 26.0 in qps  # where the relative has the operating quality


@pytest.mark.parametrize("shift", [0.0, 24.0])
def test_every_point_of_full_is_decoded_twice_in_later_rounds_too(shift: float) -> None:
    bench = Bench(SimulatedEngine(shift=shift))
    score = bench.evaluator(max_points=12).full("c1", 0, Program(PROGRAM))
    assert bench.engine.verified == [job for _, job in bench.engine.asked]
    assert all(point.verified for clip in score.clips for point in clip.curve.points)


@pytest.mark.parametrize("survived", range(9))
def test_a_resumed_stage_measures_only_what_has_no_event(survived: int) -> None:
    bench = Bench(SimulatedEngine(die_after=survived))
    if survived < 8:
        with pytest.raises(ZeroDivisionError):
            bench.evaluator().full("c1", 0, Program(PROGRAM), RELATIVE)
    else:
        bench.evaluator().full("c1", 0, Program(PROGRAM), RELATIVE)
    bench.engine.die_after = 10_000
    score = bench.evaluator().full("c1", 0, Program(PROGRAM), RELATIVE)
    assert len(bench.engine.asked) == 8 == len(set(bench.engine.asked))
    assert bench.kinds().count("stage_started") == (2 if survived < 8 else 1)
    assert score == Bench(SimulatedEngine()).evaluator().full("c1", 0, Program(PROGRAM), RELATIVE)


def test_another_attempt_measures_everything_again() -> None:
    bench = Bench(SimulatedEngine())
    bench.evaluator().smoke("c1", 0, Program(PROGRAM))
    bench.evaluator().smoke("c1", 1, Program(PROGRAM))
    assert len(bench.engine.asked) == 4


def test_screen_compares_at_the_qp_where_the_reference_crosses_the_operating_quality() -> None:
    bench = Bench(SimulatedEngine())
    evaluator = bench.evaluator()
    score = evaluator.full("c1", 0, Program(PROGRAM))
    reference = evaluator.screen_points("c1", 0, Program(PROGRAM), score)
    assert {name: measured.qp for name, measured in reference.points.items()} == {
        "big": 26.0,
        "small": 26.0,
    }
    assert all(measured.frames == 9 for measured in reference.points.values())
    bench.engine.scale = 0.9
    result = evaluator.screen("c2", 0, Program(PROGRAM), reference)
    assert result is not None
    assert result.rate_ratio == pytest.approx(0.9, rel=1e-2)
    assert result.passed
    bench.engine.scale = 0.99
    turned_away = evaluator.screen("c3", 0, Program(PROGRAM), reference)
    assert turned_away is not None
    assert not turned_away.passed
    assert turned_away.reference_id == "c1"


def test_reference_points_are_measured_once_for_all_who_ask() -> None:
    bench = Bench(SimulatedEngine())
    evaluator = bench.evaluator()
    score = evaluator.full("c1", 0, Program(PROGRAM))
    first = evaluator.screen_points("c1", 0, Program(PROGRAM), score)
    asked, events = len(bench.engine.asked), len(bench.events)
    assert bench.evaluator().screen_points("c1", 0, Program(PROGRAM), score) == first
    assert (len(bench.engine.asked), len(bench.events)) == (asked, events)


def test_a_screen_result_that_is_recorded_is_not_estimated_again() -> None:
    bench = Bench(SimulatedEngine())
    evaluator = bench.evaluator()
    reference = evaluator.screen_points(
        "c1", 0, Program(PROGRAM), evaluator.full("c1", 0, Program(PROGRAM))
    )
    result = evaluator.screen("c2", 0, Program(PROGRAM), reference)
    asked = len(bench.engine.asked)
    assert bench.evaluator().screen("c2", 0, Program(PROGRAM), reference) == result
    assert len(bench.engine.asked) == asked


def test_without_a_reference_there_is_nothing_to_screen() -> None:
    bench = Bench(SimulatedEngine())
    assert bench.evaluator().screen("c1", 0, Program(PROGRAM), None) is None
    assert bench.engine.asked == []
    assert bench.events == {}


def test_a_curve_that_cannot_be_compared_is_the_candidates_failure() -> None:
    bench = Bench(SimulatedEngine())
    flat = point("big", 30, 12)
    bench.engine.shift = math.nan  # replaced below: every qp gives the same picture

    def run_jobs(
        candidate_id: str, source: str, jobs: Sequence[RateJob], **callbacks: object
    ) -> None:
        on_point = callbacks["on_point"]
        assert callable(on_point)
        for job in jobs:
            on_point(job, replace(flat, clip=job.clip, qp=job.qp))

    bench.engine.run_jobs = run_jobs  # type: ignore[method-assign]
    with pytest.raises(CandidateFailure, match="no effect") as caught:
        bench.evaluator().full("c1", 0, Program(PROGRAM))
    assert caught.value.kind is FailureKind.QUALITY
    assert "evaluated" not in bench.kinds()


def test_infrastructure_failures_and_stops_pass_through_as_they_are() -> None:
    bench = Bench(SimulatedEngine(die_after=0, failure=InfrastructureFailure("no worker")))
    with pytest.raises(InfrastructureFailure):
        bench.evaluator().smoke("c1", 0, Program(PROGRAM))
    bench.stop.set()
    with pytest.raises(Interrupted):
        bench.evaluator().smoke("c2", 0, Program(PROGRAM))


def test_lost_tasks_are_recorded_as_retried() -> None:
    bench = Bench(SimulatedEngine())
    plain = bench.engine.run_jobs

    def run_jobs(*arguments: object, **callbacks: object) -> None:
        on_retry = callbacks["on_retry"]
        assert callable(on_retry)
        on_retry("c1/small/q30/encode", 1, "the worker died")
        plain(*arguments, **callbacks)  # type: ignore[arg-type]

    bench.engine.run_jobs = run_jobs  # type: ignore[method-assign]
    bench.evaluator().smoke("c1", 0, Program(PROGRAM))
    assert bench.kinds() == [
        "stage_started",
        "infrastructure_retried",
        *(2 * ["point_measured"]),
    ]


def test_a_point_that_was_recorded_unverified_is_measured_again_and_verified() -> None:
    bench = Bench(SimulatedEngine())
    bench.evaluator().smoke("c1", 0, Program(PROGRAM))
    of_an_older_version = [
        replace(event, point=replace(event.point, verified=False))
        for event in bench.events.values()
        if isinstance(event, PointMeasured)
    ]
    again = Bench(SimulatedEngine(), {event.key: event for event in of_an_older_version})
    again.evaluator().smoke("c1", 0, Program(PROGRAM))
    assert again.engine.verified == bench.engine.verified != []
    assert len(again.events) == len(of_an_older_version) + len(bench.events)


def unverified(events: Iterable[Event]) -> dict[str, Event]:
    """The evaluation as a version recorded it that decoded every point once."""
    return {event.key: event for event in map(_unverified, events)}


def _unverified(event: Event) -> Event:
    match event:
        case PointMeasured():
            return replace(event, point=replace(event.point, verified=False))
        case Evaluated():
            clips = [
                replace(one, curve=replace(one.curve, points=tuple(map(once, one.curve.points))))
                for one in event.score.clips
            ]
            return replace(event, score=replace(event.score, clips=tuple(clips)))
        case _:
            return event


def once(measured: RatePoint) -> RatePoint:
    return replace(measured, verified=False)


def test_a_score_of_points_that_were_never_verified_is_believed_after_they_are() -> None:
    bench = Bench(SimulatedEngine())
    bench.evaluator().full("c1", 0, Program(PROGRAM))
    again = Bench(SimulatedEngine(), unverified(bench.events.values()))
    score = again.evaluator().full("c1", 0, Program(PROGRAM))
    assert not score.verified
    assert set(again.engine.verified) == set(bench.engine.verified) != set()
    once_more = Bench(SimulatedEngine(), again.events)
    once_more.evaluator().full("c1", 0, Program(PROGRAM))
    assert once_more.engine.asked == []


def test_a_score_that_its_points_do_not_bear_out_when_verified_fails_the_candidate() -> None:
    bench = Bench(SimulatedEngine())
    bench.evaluator().full("c1", 0, Program(PROGRAM))
    again = Bench(SimulatedEngine(scale=1.5), unverified(bench.events.values()))
    with pytest.raises(CandidateFailure, match="now that it is verified") as caught:
        again.evaluator().full("c1", 0, Program(PROGRAM))
    assert caught.value.kind is FailureKind.NONDETERMINISTIC
