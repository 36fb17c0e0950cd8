"""Staged evaluation of a candidate: smoke, screen, full.

Each stage can be repeated after a crash: what was measured is not measured twice.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import fmean

from evocodec.codec.program import Program
from evocodec.curves.rd_curve import bits_at_quality, make_curve
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import (
    Evaluated,
    Screened,
    evaluated_key,
    screened_key,
)
from evocodec.domain.results import Cost, RatePoint, RdCurve, Score, ScreenResult, Stage
from evocodec.evaluation.guards import Guards, check_guards
from evocodec.evaluation.held_out import HeldOutClip, first_qps, more_qps
from evocodec.evaluation.points import PointMeasurer, Record, Recorded, StageAttempt
from evocodec.evaluation.probe import SmokeProbe, make_probe
from evocodec.evaluation.rate_plan import initial_qps, next_qps
from evocodec.evaluation.scoring import score_candidate
from evocodec.evaluation.screening import (
    AdoptionTarget,
    ScreenErrors,
    first_target,
    later_target,
    screen,
)
from evocodec.execution.contract import JobRunner
from evocodec.execution.jobs import RateJob, full_jobs, screen_jobs, smoke_job
from evocodec.rules.adoption import Thresholds
from evocodec.rules.program_charge import ProgramCharge
from evocodec.video.clips import Clip

ParentCurves = Mapping[str, Sequence[RatePoint]] | None

_QP_STEP = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """Settings of the stages, and when a screen is enough.

    A screened candidate goes on when its estimated rate ratio is at most ``screen_keep_below``, or
    when it could still be adopted by ``thresholds``.
    ``charge`` says how many bytes of the packed program are added to every stream.
    """

    screen_frames: int
    smoke_qp: float
    screen_keep_below: float
    max_points: int
    charge: ProgramCharge
    guards: Guards
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class ScreenReference:
    """Reference of the screen: one point per clip, of a few frames.

    ``line`` is what a candidate must reach against it to be adopted.
    """

    candidate_id: str
    points: Mapping[str, RatePoint]
    line: AdoptionTarget


class StagedEvaluator:
    """Runs stages on an engine; any number of threads, one for each candidate.

    ``record``, ``recorded`` and ``store_series`` are those of ``PointMeasurer``.
    ``reference_costs`` gives what the anchor costs on this machine, by clip, when a score is made;
    ``errors`` what the run knows of its screen.
    CandidateFailure, InfrastructureFailure and Interrupted pass through as they are.
    """

    def __init__(
        self,
        engine: JobRunner,
        *,
        run_id: str,
        clips: Mapping[str, Clip],
        anchors: Mapping[str, RdCurve],
        operating_db: Mapping[str, float],
        record: Record,
        recorded: Recorded,
        now: Callable[[], str],
        settings: StageSettings,
        stop: threading.Event | None = None,
        store_series: Callable[[bytes], str] | None = None,
        reference_costs: Callable[[], Mapping[str, Cost]] = dict,
        errors: ScreenErrors | None = None,
    ) -> None:
        self._engine = engine
        self._run_id = run_id
        self._clips = dict(clips)
        self._measuring = PointMeasurer(engine, run_id, record, recorded, now, stop, store_series)
        self._anchors = anchors
        self._operating_db = operating_db
        self._record = record
        self._recorded = recorded
        self._now = now
        self._settings = settings
        self._reference_costs = reference_costs
        self._errors = errors or ScreenErrors()
        for clip in self._clips.values():
            engine.put_clip(clip)

    @cached_property
    def _probe(self) -> SmokeProbe:
        # Made when a program is there: what draws it takes a while to import.
        return make_probe(self._clips, self._run_id)

    def smoke(self, candidate_id: str, attempt: int, program: Program) -> None:
        """Does it run, does it decode, twice alike: 3 frames of the smallest clip, and a probe."""
        stage_attempt = StageAttempt(candidate_id, attempt, Stage.SMOKE, program)
        self._engine.put_clip(self._probe.clip)
        jobs = (smoke_job(self._clips, self._settings.smoke_qp), self._probe.job)
        self._measuring.points(stage_attempt, jobs, verify=True)

    def screen(
        self, candidate_id: str, attempt: int, program: Program, reference: ScreenReference | None
    ) -> ScreenResult | None:
        """Estimate the gain over the reference from a few frames at its rates.

        Without a reference there is nothing to compare, and None says that full comes next.
        """
        if reference is None:
            return None
        known = self._recorded(screened_key(candidate_id, attempt))
        if isinstance(known, Screened):
            return known.result
        stage_attempt = StageAttempt(candidate_id, attempt, Stage.SCREEN, program)
        qps = {clip: point.qp for clip, point in reference.points.items()}
        jobs = screen_jobs(self._clips, qps, self._settings.screen_frames)
        points = self._measuring.points(stage_attempt, jobs)
        result = screen(
            reference=reference.points,
            candidate=self._screened_points(points, program),
            anchors=self._anchors,
            reference_id=reference.candidate_id,
            keep_below=self._settings.screen_keep_below,
            line=reference.line,
            errors=self._errors.model(),
            confidence=self._settings.thresholds.confidence,
        )
        event = Screened(
            run_id=self._run_id,
            at=self._now(),
            candidate_id=candidate_id,
            attempt=attempt,
            result=result,
        )
        self._record(event)
        self._errors.observe(event)
        return result

    def screen_points(
        self,
        candidate_id: str,
        attempt: int,
        program: Program,
        score: Score,
        *,
        version: bool = True,
    ) -> ScreenReference:
        """Measure a fully evaluated candidate as later candidates will be screened.

        ``version``: it is the version to beat, and not only the best candidate before the first
        version.

        The rate of each clip is where its curve crosses the operating quality, so that both sides
        of a later comparison are measured at the same qp.
        """
        qps = {
            scored.clip: operating_qp(scored.curve, scored.operating_psnr_y_db)
            for scored in score.clips
        }
        stage_attempt = StageAttempt(candidate_id, attempt, Stage.SCREEN, program)
        jobs = screen_jobs(self._clips, qps, self._settings.screen_frames)
        points = self._measuring.points(stage_attempt, jobs)
        thresholds = self._settings.thresholds
        line = later_target(thresholds) if version else first_target(score, thresholds)
        return ScreenReference(candidate_id, self._screened_points(points, program), line)

    def _screened_points(
        self, points: Mapping[RateJob, RatePoint], program: Program
    ) -> dict[str, RatePoint]:
        """Points by clip, each with its frames' share of the program where that is charged."""
        extra = 8 * self._charged_bytes(program)
        return {
            job.clip: replace(
                point,
                bits=point.bits
                + round(extra * job.frames / self._clips[job.clip].stream.frame_count),
            )
            for job, point in points.items()
        }

    def full(
        self, candidate_id: str, attempt: int, program: Program, relative: ParentCurves = None
    ) -> Score:
        """Measure whole clips until every curve can be compared, and score them.

        ``relative`` are the points of a relative's curves by clip: rates are placed by them.
        A score in the ledger is believed when its points were verified; else they are measured
        again, verified and compared: ledgers before 0.2 have such scores.
        """
        stage_attempt = StageAttempt(candidate_id, attempt, Stage.FULL, program)
        known = self._recorded(evaluated_key(candidate_id, attempt))
        if isinstance(known, Evaluated):
            if not known.score.verified:
                self._verify(stage_attempt, known.score)
            return known.score
        score = self._score(stage_attempt, relative)
        event = Evaluated(
            run_id=self._run_id,
            at=self._now(),
            candidate_id=candidate_id,
            attempt=attempt,
            score=score,
        )
        self._record(event)
        self._errors.observe(event)
        return score

    def _verify(self, stage_attempt: StageAttempt, score: Score) -> None:
        """Measure the points of a score again and verify them; CandidateFailure if one differs."""
        curves = {scored.clip: scored.curve.points for scored in score.clips}
        qps = {clip: tuple(point.qp for point in points) for clip, points in curves.items()}
        recorded = {(clip, point.qp): point for clip in curves for point in curves[clip]}
        jobs = full_jobs(self._clips, qps, stage_attempt.stage)
        for job, point in self._measuring.points(stage_attempt, jobs, verify=True).items():
            known = recorded[job.clip, job.qp]
            if (point.bits, point.quality.psnr_y_db) != (known.bits, known.quality.psnr_y_db):
                raise CandidateFailure(
                    FailureKind.NONDETERMINISTIC,
                    f"{job.clip} at qp {job.qp:g} was recorded with {known.bits} bits and "
                    f"{known.quality.psnr_y_db:.2f} dB, unverified, and has {point.bits} bits and "
                    f"{point.quality.psnr_y_db:.2f} dB now that it is verified",
                )

    def held_out(
        self,
        candidate_id: str,
        attempt: int,
        program: Program,
        clips: Sequence[HeldOutClip],
        around_qps: Mapping[str, float],
        *,
        announce: bool = True,
    ) -> dict[str, float]:
        """Bits at the operating quality of clips that are not among the development clips.

        Three rates a clip, around the given one, and more only until the operating quality lies
        between two of them. ``announce`` records that the stage began.
        """
        stage_attempt = StageAttempt(candidate_id, attempt, Stage.HELD_OUT, program)
        by_name = {held.clip.name: held for held in clips}
        for held in clips:
            self._engine.put_clip(held.clip)
        measured: dict[str, list[RatePoint]] = {name: [] for name in by_name}
        wanted = {name: first_qps(around_qps[name]) for name in by_name}
        while any(wanted.values()):
            jobs = full_jobs(
                {n: held.clip for n, held in by_name.items()}, wanted, stage_attempt.stage
            )
            points = self._measuring.points(stage_attempt, jobs, verify=True, announce=announce)
            for job, point in points.items():
                measured[job.clip].append(point)
            announce = False
            wanted = {
                name: more_qps(measured[name], held.operating_psnr_y_db)
                for name, held in by_name.items()
            }
        bits: dict[str, float] = {}
        for name, held in by_name.items():
            curve = make_curve(candidate_id, name, measured[name])
            bits[name] = bits_at_quality(curve, held.operating_psnr_y_db)
            bits[name] += self._charge(program, held.clip)
            check_guards(held.anchor, curve, held.operating_psnr_y_db, self._settings.guards)
        return bits

    def _charge(self, program: Program, clip: Clip) -> float:
        """Bits of the program that a held-out clip bears: as heavy as on the development clips.

        A held-out clip is shorter and smaller; the whole program would outweigh it.
        """
        mean = fmean(known.stream.raw_bits for known in self._clips.values())
        return 8 * self._charged_bytes(program) * clip.stream.raw_bits / mean

    def _charged_bytes(self, program: Program) -> int:
        mean = fmean(
            bits_at_quality(anchor, self._operating_db[clip])
            for clip, anchor in self._anchors.items()
        )
        return self._settings.charge.charged_bytes(program.facts.packed_bytes, mean)

    def _score(self, stage_attempt: StageAttempt, relative: ParentCurves) -> Score:
        measured: dict[str, list[RatePoint]] = {clip: [] for clip in self._clips}
        known = relative or {}
        wanted = {
            clip: initial_qps(self._anchors[clip], self._operating_db[clip], known.get(clip, ()))
            for clip in self._clips
        }
        first = True
        while any(wanted.values()):
            jobs = full_jobs(self._clips, wanted, stage_attempt.stage)
            points = self._measuring.points(stage_attempt, jobs, verify=True, announce=first)
            for job, point in points.items():
                measured[job.clip].append(point)
            first = False
            wanted = {clip: self._missing(clip, found) for clip, found in measured.items()}
        curves = {
            clip: make_curve(stage_attempt.candidate_id, clip, points)
            for clip, points in measured.items()
        }
        score = score_candidate(
            streams={name: clip.stream for name, clip in self._clips.items()},
            anchors=self._anchors,
            operating_db=self._operating_db,
            curves=curves,
            program_bytes=len(stage_attempt.program.data),
            packed_program_bytes=stage_attempt.program.facts.packed_bytes,
            charged_program_bytes=self._charged_bytes(stage_attempt.program),
            reference_costs=self._reference_costs(),
            confidence=self._settings.thresholds.confidence,
        )
        for clip, curve in curves.items():
            check_guards(
                self._anchors[clip], curve, self._operating_db[clip], self._settings.guards
            )
        return score

    def _missing(self, clip: str, points: Sequence[RatePoint]) -> tuple[float, ...]:
        return next_qps(
            self._anchors[clip],
            points,
            self._operating_db[clip],
            max_points=self._settings.max_points,
        )


def operating_qp(curve: RdCurve, psnr_y_db: float) -> float:
    """Interpolate qp over PSNR-Y, linearly between the two points around the quality."""
    points = sorted(curve.points, key=lambda point: point.quality.psnr_y_db)
    for worse, better in pairwise(points):
        low, high = worse.quality.psnr_y_db, better.quality.psnr_y_db
        if low <= psnr_y_db <= high and low < high:
            share = (psnr_y_db - low) / (high - low)
            qp = worse.qp + share * (better.qp - worse.qp)
            return round(qp / _QP_STEP) * _QP_STEP
    nearest = min(points, key=lambda point: abs(point.quality.psnr_y_db - psnr_y_db))
    return nearest.qp
