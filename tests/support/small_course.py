"""A laboratory of one small clip on the real path: sandboxes, anchors, scorer, judge and gate."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evocodec.anchors.encoders import X265_MEDIUM
from evocodec.anchors.measure import anchor_curve, operating_quality_db
from evocodec.app.clips import AnchoredClip
from evocodec.app.held_out_clips import HeldOutMaterial
from evocodec.codec.program import Program
from evocodec.domain.candidate import Origin, Verdict
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import CandidateFailure
from evocodec.domain.events import (
    CandidateOpened,
    CodeWritten,
    HeldOutTested,
    Judged,
    Planned,
    StageStarted,
)
from evocodec.domain.results import RatePoint, Score, Stage
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.execution.engine import Engine, local_engine
from evocodec.execution.jobs import RateJob
from evocodec.rules.held_out import HeldOutLimits
from evocodec.rules.program_charge import ChargeMode, ProgramCharge
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import load_clip
from evocodec.views.candidate import CandidateFold, CandidateView
from graph.services import HeldOutConfig, Services
from graph.state import CandidateState
from tests.support.default_options import (
    default_engine_options,
    default_limits,
    default_policy,
    default_stage_settings,
    default_thresholds,
)
from tests.support.graph_services import RUN, journal_and_search, judging_services
from tests.support.toy_laboratory import CARPHONE, TOY, settings_for

LIMITS = default_limits(wall_seconds=20, cpu_seconds=20, memory_bytes=512 * MEBIBYTE)
FRAMES = 8
FREE = ProgramCharge(ChargeMode.NEVER, 0)
QP = 26.0
WIDE = default_thresholds(
    chance_first_below_mbps=1000.0, limits=replace(default_thresholds().limits, max_program_bytes=0)
)


def edited(source: str, *edits: tuple[str, str]) -> str:
    """A program with some lines replaced, each of which must be there once."""
    for old, new in edits:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


PLAIN = edited(
    TOY.read_text(),
    # Chroma twice as fine as luma, about as x265 has it.
    ("np.floor(plane / step + 0.5)", "np.floor(plane / step * (1 + (index > 0)) + 0.5)"),
    ("np.floor(levels * step + 0.5)", "np.floor(levels * step / (1 + (index > 0)) + 0.5)"),
)
HONEST = edited(PLAIN, ('PREDICTION = "none"', 'PREDICTION = "previous"'))


def changed(*edits: tuple[str, str]) -> str:
    """The honest codec with some lines replaced."""
    return edited(HONEST, *edits)


@dataclass
class Course:
    """One development clip, its anchor, and an engine to measure on."""

    engine: Engine
    anchored: AnchoredClip
    folder: Path

    def evaluator(self, services_record: Any = None, found: Any = None, **settings: Any) -> Any:
        """A staged evaluator; without a journal nothing is kept."""
        name = self.anchored.clip.name
        return StagedEvaluator(
            self.engine,
            run_id=RUN,
            clips={name: self.anchored.clip},
            anchors={name: self.anchored.curve},
            operating_db={name: self.anchored.operating_psnr_y_db},
            record=services_record or (lambda event: None),
            recorded=found or (lambda key: None),
            now=utc_now,
            settings=default_stage_settings(**{"charge": FREE, **settings}),
        )

    def score(self, source: str, **settings: Any) -> Score:
        """The full evaluation, as a run makes it."""
        full: Score = self.evaluator(**settings).full("c0001", 0, Program(source))
        return full

    def point(self, source: str, qp: float = QP) -> RatePoint:
        """One rate: what a scorer that looks at bits alone would see."""
        found: list[RatePoint] = []
        clip = self.anchored.clip
        self.engine.run_jobs(
            "c0001",
            source,
            [RateJob(Stage.FULL, clip.name, len(clip.frames), qp)],
            on_point=lambda job, point: found.append(point),
            on_retry=lambda task, retry, reason: None,
        )
        return found[0]

    def outcome(self, source: str) -> tuple[str, float]:
        """What failed, or the bitrate at equal quality."""
        try:
            return "", self.score(source).bitrate_mbps
        except CandidateFailure as failure:
            return str(failure), float("inf")


@contextmanager
def open_course(folder: Path) -> Iterator[Course]:
    """Measure the anchor of eight small frames of carphone, and start an engine of threads."""
    clip = load_clip(ClipSource("carphone", CARPHONE, frames=FRAMES, scale=(96, 80)))
    curve = anchor_curve(clip, X265_MEDIUM, folder / "anchors")
    anchored = AnchoredClip(clip, curve, operating_quality_db(curve, clip.stream), cached=False)
    engine = local_engine(
        default_engine_options(limits=LIMITS, policy=default_policy(), writer_id="v0", local_cpus=2)
    )
    engine.start()
    try:
        yield Course(engine, anchored, folder)
    finally:
        engine.close()


@dataclass
class Bench:
    """The nodes that judge, with a measured version to beat."""

    services: Services
    evaluator: StagedEvaluator

    def measured(self, candidate_id: str, source: str) -> CandidateState:
        """Take a program through the full evaluation."""
        sha256 = self.services.programs.put(Program(source)).sha256
        number = int(candidate_id[1:])
        common: dict[str, Any] = {"run_id": RUN, "at": utc_now(), "candidate_id": candidate_id}
        parent = "c0001" if number > 1 else ""
        for event in (
            CandidateOpened(**common, parent_id=parent, number=number),
            Planned(**common, origin=Origin.SUBMITTED, hypothesis="fewer bits"),
            CodeWritten(**common, attempt=0, source_sha256=sha256, program_bytes=len(source)),
        ):
            self.services.journal.publish(event)
        self.evaluator.full(candidate_id, 0, Program(source))
        return {
            "candidate_id": candidate_id,
            "parent_id": parent,
            "number": number,
            "attempt": 0,
            "source_sha256": sha256,
            "outcome": "evaluated",
        }

    def verdict(self, candidate_id: str) -> Verdict:
        """The newest verdict on a candidate."""
        events = self.services.journal.ledger.events(
            RUN, candidate_id=candidate_id, kinds=("judged",)
        )
        return [event.verdict for _, event in events if isinstance(event, Judged)][-1]

    def view(self, candidate_id: str) -> CandidateView:
        """What the ledger says of a candidate."""
        fold = CandidateFold(candidate_id)
        for _, event in self.services.journal.ledger.events(RUN, candidate_id=candidate_id):
            fold.apply(event)
        return fold.view()

    def gates_begun(self) -> list[str]:
        """Whose held-out check was announced, in order."""
        events = self.services.journal.ledger.events(RUN, kinds=("stage_started",))
        return [
            event.candidate_id
            for _, event in events
            if isinstance(event, StageStarted) and event.stage is Stage.HELD_OUT
        ]

    def held_out(self, candidate_id: str) -> HeldOutTested:
        """What the gate found."""
        events = self.services.journal.ledger.events(
            RUN, candidate_id=candidate_id, kinds=("held_out_tested",)
        )
        return [event for _, event in events if isinstance(event, HeldOutTested)][-1]


def bench_of(
    course: Course, folder: Path, *, gate: bool, keep: float = 0.5, excess: float = 15.0
) -> Bench:
    settings = settings_for(
        folder,
        held_out__enabled=True,
        held_out__derived=2,
        held_out__derived_most=5,
        held_out__frames=5,
    )
    development = {course.anchored.clip.name: course.anchored}
    material = HeldOutMaterial(settings, folder / "held-out", development, b"secret of a test")
    limits = HeldOutConfig(material.draw, HeldOutLimits(keep, excess, WIDE))
    journal, search = journal_and_search()
    evaluator = course.evaluator(journal.publish, journal.find)
    held_out = limits if gate else None
    services = judging_services(
        folder, journal, search, WIDE, evaluator=evaluator, held_out=held_out
    )
    return Bench(services, evaluator)
