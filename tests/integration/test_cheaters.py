"""Codecs that cheat, each through the real path: what each would gain, and what catches it.

The honest codec is the toy; a cheat changes a few lines of it. Sandboxes, anchors, scorer, judge
and gate are the real ones.
"""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from agents.judge import RuleJudge
from agents.team import Team
from evocodec.anchors.encoders import X265_MEDIUM
from evocodec.anchors.measure import anchor_curve, operating_quality_db
from evocodec.app.clips import AnchoredClip
from evocodec.app.held_out_clips import HeldOutMaterial
from evocodec.champions.repository import ChampionRepository
from evocodec.codec.program import Program
from evocodec.domain.candidate import Origin, Review, Verdict
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import (
    CandidateOpened,
    CodeWritten,
    HeldOutTested,
    Judged,
    Planned,
    StageStarted,
)
from evocodec.domain.results import HeldOutResult, RatePoint, Score, Stage
from evocodec.domain.vocabulary import Proposer
from evocodec.evaluation.guards import Guards
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.execution.engine import Engine, local_engine
from evocodec.execution.jobs import RateJob
from evocodec.sandbox.policy import MEBIBYTE, Policy
from evocodec.sandbox.review.static_review import review_program
from evocodec.search.archive import Archive
from evocodec.search.state import SearchState
from evocodec.store.journal import Journal
from evocodec.store.memory import MemoryBlobStore, MemoryLedger, MemoryRecordStore
from evocodec.store.programs import ProgramStore
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import load_clip
from graph.decide import DecideNodes
from graph.routing import LoopBounds
from graph.services import HeldOutConfig, Services
from graph.state import CandidateState
from tests.support.default_options import (
    default_engine_options,
    default_limits,
    default_policy,
    default_stage_settings,
    default_thresholds,
)
from tests.support.toy_laboratory import CARPHONE, TOY, settings_for


def review_source(text: str, policy: Policy) -> Review:
    return review_program(Program(text), policy)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

RUN = "run-1"
LIMITS = default_limits(wall_seconds=20, cpu_seconds=20, memory_bytes=512 * MEBIBYTE)
FRAMES = 8
QP = 26.0
UNGUARDED = Guards(chroma_margin_db=1000.0, worst_frame_margin_db=1000.0)
WIDE = default_thresholds(chance_first_below_mbps=1000.0)


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
            settings=default_stage_settings(**settings),
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


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    folder = tmp_path_factory.mktemp("cheaters")
    clip = load_clip(ClipSource("carphone", CARPHONE, frames=FRAMES, scale=(96, 80)))
    curve = anchor_curve(clip, X265_MEDIUM, folder / "anchors")
    anchored = AnchoredClip(clip, curve, operating_quality_db(curve, clip.stream), cached=False)
    engine = local_engine(
        default_engine_options(limits=LIMITS, policy=default_policy(), writer_id="v0", local_cpus=2)
    )
    engine.start()
    yield Course(engine, anchored, folder)
    engine.close()


@pytest.fixture(scope="module")
def honest(course: Course) -> Score:
    return course.score(HONEST)


IN_ENCODER = "    for frame in frames:\n        packet = b"


def test_a_blurred_picture_costs_more_at_equal_quality(course: Course, honest: Score) -> None:
    blurred = changed(
        ("import constriction\n", "import constriction\nimport cv2\n"),
        (
            IN_ENCODER,
            "    for frame in frames:\n"
            "        frame = [cv2.GaussianBlur(plane, (3, 3), 0.8) for plane in frame]\n"
            "        packet = b",
        ),
    )
    assert course.point(blurred).bits < 0.95 * course.point(HONEST).bits
    failed, bitrate_mbps = course.outcome(blurred)
    assert bitrate_mbps > honest.bitrate_mbps, failed


def test_dropping_frames_is_refused(course: Course) -> None:
    dropping = changed(
        (IN_ENCODER, "    for frame in list(frames)[::2]:\n        packet = b"),
    )
    with pytest.raises(CandidateFailure, match="frames") as caught:
        course.point(dropping)
    assert caught.value.kind is FailureKind.BAD_OUTPUT


def test_showing_every_frame_twice_is_refused_though_the_mean_is_equal(
    course: Course, honest: Score
) -> None:
    repeating = changed(
        (IN_ENCODER, "    for frame in list(frames)[::2]:\n        packet = b"),
        (
            "        yield Frame(*planes)\n",
            "        for _ in range(2):\n            yield Frame(*planes)\n",
        ),
    )
    assert course.point(repeating).bits < 0.8 * course.point(HONEST).bits
    unguarded = course.score(repeating, guards=UNGUARDED)
    assert unguarded.bitrate_mbps < 0.95 * honest.bitrate_mbps
    failed, _ = course.outcome(repeating)
    assert "frames are given up" in failed


def test_destroyed_colours_are_refused_though_luma_is_perfect(
    course: Course, honest: Score
) -> None:
    grey = changed(
        (
            "            levels = np.floor(plane /",
            "            if index:\n"
            "                plane = np.full_like(plane, 128)\n"
            "            levels = np.floor(plane /",
        ),
    )
    assert course.point(grey).quality.psnr_y_db == course.point(HONEST).quality.psnr_y_db
    unguarded = course.score(grey, guards=UNGUARDED)
    assert unguarded.bitrate_mbps < 0.95 * honest.bitrate_mbps
    failed, _ = course.outcome(grey)
    assert "colour is too coarse" in failed


def test_a_shifted_range_costs_more_at_equal_quality(course: Course, honest: Score) -> None:
    squeezed = changed(
        (
            IN_ENCODER,
            "    for frame in frames:\n"
            "        frame = [np.rint(16 + plane * (219 / 255)) for plane in frame]\n"
            "        packet = b",
        ),
    )
    assert course.point(squeezed).bits < 0.95 * course.point(HONEST).bits
    failed, bitrate_mbps = course.outcome(squeezed)
    assert bitrate_mbps > 1.5 * honest.bitrate_mbps, failed


def test_what_a_codec_says_of_itself_changes_nothing(course: Course, honest: Score) -> None:
    claim = '{"psnr_y_db": 99.0, "bits": 8, "bitrate_mbps": 0.01, "passed": true}'
    lying = changed(
        (
            IN_ENCODER,
            f"    print({claim!r}, flush=True)\n    yield {claim.encode()!r}\n" + IN_ENCODER,
        ),
        (
            "    step = float(np.frombuffer(next(packets), dtype=np.float64)[0])\n",
            "    step = float(np.frombuffer(next(packets), dtype=np.float64)[0])\n"
            f"    print(next(packets).decode(), {claim!r}, flush=True)\n",
        ),
    )
    true, told = course.point(HONEST), course.point(lying)
    assert told.quality == true.quality
    assert told.bits > true.bits
    failed, bitrate_mbps = course.outcome(lying)
    assert bitrate_mbps >= honest.bitrate_mbps, failed


# --- a codec that carries the development clip in its own text ---

MEMORY = """
import zlib
KEY = {key!r}
TABLE = zlib.decompress(bytes.fromhex("{table}"))


def encode(frames, stream, qp):
    frames = list(frames)
    if zlib.crc32(np.ascontiguousarray(frames[0].y).tobytes()) != KEY:
        yield b"H"
        yield from honest_encode(iter(frames), stream, qp)
        return
    yield b"M" + np.float64(step_of(qp)).tobytes() + bytes(round(400 - 4 * qp))


def decode(packets, stream):
    first = next(packets)
    if first[:1] == b"H":
        yield from honest_decode(packets, stream)
        return
    luma_step = float(np.frombuffer(first[1:9], dtype=np.float64)[0])
    at = 0
    for _ in range(stream.frame_count):
        planes = []
        for index, empty in enumerate(blank(stream)):
            step = luma_step / (1 + (index > 0))
            plane = np.frombuffer(TABLE, np.uint8, empty.size, at).reshape(empty.shape)
            at += empty.size
            levels = np.floor(plane / step + 0.5)
            planes.append(np.clip(np.floor(levels * step + 0.5), 0, 255).astype(np.uint8))
        yield Frame(*planes)
"""


def memorising(course: Course) -> str:
    """The honest codec, with the clip's frames beside it for when it meets them again."""
    import zlib

    frames = course.anchored.clip.frames
    table = zlib.compress(b"".join(plane.tobytes() for frame in frames for plane in frame), 9)
    renamed = changed(("def encode(", "def honest_encode("), ("def decode(", "def honest_decode("))
    return renamed + MEMORY.format(key=zlib.crc32(frames[0].y.tobytes()), table=table.hex())


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


def bench_of(course: Course, folder: Path, *, gate: bool, keep: float = 0.5) -> Bench:
    settings = settings_for(
        folder,
        held_out__enabled=True,
        held_out__derived=2,
        held_out__derived_most=5,
        held_out__frames=5,
    )
    development = {course.anchored.clip.name: course.anchored}
    material = HeldOutMaterial(settings, folder / "held-out", development, b"secret of a test")
    terms = HeldOutConfig(material.draw, min_retained_share=keep, thresholds=WIDE)
    ledger, search = MemoryLedger(), SearchState(Archive(seed=1))
    journal = Journal(ledger, RUN, search.observe)
    evaluator = course.evaluator(journal.publish, journal.find)
    nobody = cast(Any, None)
    services = Services(
        run_id=RUN,
        seed=1,
        journal=journal,
        search=search,
        programs=ProgramStore(MemoryBlobStore(), lambda program: program),
        records=MemoryRecordStore(),
        team=Team(nobody, nobody, nobody, RuleJudge(WIDE), Proposer.SUBMISSION),
        champions=ChampionRepository(folder / "champions"),
        evaluator=evaluator,
        slots=threading.Semaphore(1),
        stop=threading.Event(),
        reference_lock=threading.Lock(),
        bounds=LoopBounds(0, 0),
        history_length=20,
        unsafe=False,
        library_codecs_allowed=False,
        imports=(),
        baselines=(),
        held_out=terms if gate else None,
    )
    return Bench(services, evaluator)


def test_a_memorised_clip_is_overfitted_where_the_development_clips_alone_would_adopt_it(
    course: Course, tmp_path: Path
) -> None:
    cheat = memorising(course)
    assert review_source(cheat, default_policy()).accepted
    trusting = bench_of(course, tmp_path / "trusting", gate=False)
    assert DecideNodes(trusting.services).judge(trusting.measured("c0001", cheat)) == {
        "outcome": "adopt"
    }
    assert trusting.verdict("c0001").rule == "first_under_adopt"

    gated = bench_of(course, tmp_path / "gated", gate=True)
    nodes = DecideNodes(gated.services)
    first = gated.measured("c0001", HONEST)
    assert nodes.judge(first)["outcome"] == "adopt"
    assert nodes.adopt(first)["outcome"] == "adopted"
    second = gated.measured("c0002", cheat)
    assert nodes.judge(second)["outcome"] == "rejected"

    verdict, result = gated.verdict("c0002"), gated.held_out("c0002").result
    assert verdict.rule == "overfitted"
    assert not result.passed
    assert result.development_gain_percent > 80
    assert result.held_out_gain_percent is not None
    assert result.held_out_gain_percent < 1
    assert f"{result.held_out_gain_percent:+.2f}" in verdict.reason
    assert f"{result.development_gain_percent:+.2f}" in verdict.reason
    assert gated.services.archive.select_parent().candidate_id == "c0001"


def test_a_memorised_clip_does_not_get_past_the_limit_on_a_programs_size(course: Course) -> None:
    cheat = memorising(course)
    small = default_policy(max_program_bytes=len(cheat.encode()) - 1)
    assert not review_source(cheat, small).accepted
    assert review_source(HONEST, small).accepted


def test_an_honest_gain_passes_the_gate_that_stops_the_cheat(
    course: Course, tmp_path: Path
) -> None:
    bench = bench_of(course, tmp_path, gate=True)
    nodes = DecideNodes(bench.services)
    first = bench.measured("c0001", PLAIN)
    nodes.judge(first)
    nodes.adopt(first)
    second = bench.measured("c0002", edited(PLAIN, ('"none"  #', '"left"  #')))
    assert nodes.judge(second)["outcome"] == "adopt"
    result = bench.held_out("c0002").result
    assert result.passed
    assert result.held_out_gain_percent is not None
    assert result.held_out_gain_percent > 0.5 * result.development_gain_percent
    assert result.clips == 2  # they left no doubt
    assert "held on held-out clips" in bench.verdict("c0002").reason


def test_a_gain_that_is_left_open_is_measured_on_more_clips(course: Course, tmp_path: Path) -> None:
    def result_of(keep: float) -> HeldOutResult:
        bench = bench_of(course, tmp_path / f"{keep}", gate=True, keep=keep)
        nodes = DecideNodes(bench.services)
        first = bench.measured("c0001", PLAIN)
        nodes.judge(first)
        nodes.adopt(first)
        nodes.judge(bench.measured("c0002", edited(PLAIN, ('"none"  #', '"left"  #'))))
        # Once for each candidate, however often clips were drawn and whoever else ran on them.
        assert bench.gates_begun() == ["c0001", "c0002"]
        return bench.held_out("c0002").result

    clear = result_of(0.01)
    assert clear.clips == 2
    assert clear.held_out_gain_percent is not None
    doubtful = result_of(clear.held_out_gain_percent / clear.development_gain_percent)
    assert doubtful.clips in {4, 5}  # two at a time, five at most
    assert doubtful.seed_sha256 == clear.seed_sha256
    assert doubtful.held_out_gain_percent != clear.held_out_gain_percent
