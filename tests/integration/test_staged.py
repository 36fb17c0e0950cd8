"""The stages on real video with real Ray, sandboxes and x265 anchors; only the codec is a toy."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from evocodec.anchors.encoders import X265_MEDIUM
from evocodec.anchors.measure import anchor_curve, operating_quality_db
from evocodec.codec.program import Program
from evocodec.domain.errors import (
    CandidateFailure,
    FailureKind,
    Interrupted,
)
from evocodec.domain.events import Evaluated, Event, PointMeasured
from evocodec.domain.results import RdCurve
from evocodec.evaluation.guards import Guards
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.execution.engine import Engine, ray_engine
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.store.memory import MemoryLedger
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, default_clips, load_clip
from tests.support.default_options import (
    default_engine_options,
    default_limits,
    default_policy,
    default_stage_settings,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

TOY = (Path(__file__).parents[1] / "data" / "toy_codec.py").read_text()
LEFT = TOY.replace('PREDICTION = "none"', 'PREDICTION = "left"')
RUN = "run-1"


@dataclass
class Bench:
    """Real clips, anchors and engine; each test brings a ledger."""

    engine: Engine
    clips: dict[str, Clip]
    anchors: dict[str, RdCurve]

    def evaluator(
        self, ledger: MemoryLedger, *, stop: threading.Event | None = None, stop_after: int = 0
    ) -> StagedEvaluator:
        """``stop_after`` sets ``stop`` as soon as so many points are recorded."""

        def record(event: Event) -> None:
            assert ledger.record(event), f"{event.key} was there already"
            if stop is not None and stop_after and len(points(ledger)) >= stop_after:
                stop.set()

        return StagedEvaluator(
            self.engine,
            run_id=RUN,
            clips=self.clips,
            anchors=self.anchors,
            operating_db={
                name: operating_quality_db(curve, self.clips[name].stream)
                for name, curve in self.anchors.items()
            },
            record=record,
            recorded=lambda key: ledger.get(RUN, key),
            now=lambda: "2026-01-01T00:00:00.000",
            settings=default_stage_settings(
                screen_frames=3, guards=Guards(chroma_margin_db=10.0, worst_frame_margin_db=3.0)
            ),
            stop=stop,
        )


def points(ledger: MemoryLedger) -> list[PointMeasured]:
    return [event for _, event in ledger.events(RUN) if isinstance(event, PointMeasured)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    carphone = default_clips()[0].path
    sources = (
        ClipSource("even", carphone, frames=5, scale=(96, 80)),
        ClipSource("odd", carphone, frames=4, crop=(10, 10, 91, 75)),
    )
    clips = {source.name: load_clip(source) for source in sources}
    cache = tmp_path_factory.mktemp("anchors")
    anchors = {name: anchor_curve(clip, X265_MEDIUM, cache) for name, clip in clips.items()}
    engine = ray_engine(
        default_engine_options(
            limits=default_limits(wall_seconds=20, cpu_seconds=20, memory_bytes=512 * MEBIBYTE),
            policy=default_policy(),
            writer_id="v0",
            local_cpus=2,
            object_store_bytes=128 * MEBIBYTE,
        )
    )
    engine.start()
    yield Bench(engine, clips, anchors)
    engine.close()


def test_a_better_program_passes_every_stage_and_scores_better(bench: Bench) -> None:
    ledger = MemoryLedger()
    evaluator = bench.evaluator(ledger)
    evaluator.smoke("c1", 0, Program(TOY))
    score = evaluator.full("c1", 0, Program(TOY))
    reference = evaluator.screen_points("c1", 0, Program(TOY), score)

    evaluator.smoke("c2", 0, Program(LEFT))
    screened = evaluator.screen("c2", 0, Program(LEFT), reference)
    better = evaluator.full("c2", 0, Program(LEFT))

    assert screened is not None
    assert screened.passed
    assert better.bitrate_mbps < score.bitrate_mbps
    assert screened.rate_ratio == pytest.approx(better.bitrate_mbps / score.bitrate_mbps, rel=0.2)
    assert {clip.clip for clip in score.clips} == {"even", "odd"}
    assert score.encode_fps > 0
    tasks = [event.task for event in points(ledger)]
    assert any(task.startswith("c2/odd/q") for task in tasks)


def test_a_stopped_evaluation_goes_on_where_it_stopped(bench: Bench) -> None:
    ledger = MemoryLedger()
    stop = threading.Event()
    with pytest.raises(Interrupted):
        bench.evaluator(ledger, stop=stop, stop_after=3).full("c1", 0, Program(TOY))
    before = points(ledger)
    assert 3 <= len(before) < 8

    score = bench.evaluator(ledger).full("c1", 0, Program(TOY))

    after = points(ledger)
    assert after[: len(before)] == before
    measured = [point for clip in score.clips for point in clip.curve.points]
    assert sorted(event.point.bitstream_sha256 for event in after) == sorted(
        point.bitstream_sha256 for point in measured
    )
    known = ledger.get(RUN, "c1/evaluated/0")
    assert isinstance(known, Evaluated)
    assert known.score == score
    assert bench.evaluator(ledger).full("c1", 0, Program(TOY)) == score
    assert points(ledger) == after


def test_a_codec_that_ignores_qp_is_told_so_and_gets_no_score(bench: Bench) -> None:
    ledger = MemoryLedger()
    deaf = TOY.replace("    step = step_of(qp)\n", "    step = 8.0\n")
    with pytest.raises(CandidateFailure, match="no effect") as caught:
        bench.evaluator(ledger).full("c1", 0, Program(deaf))
    assert caught.value.kind is FailureKind.QUALITY
    assert ledger.get(RUN, "c1/evaluated/0") is None


def test_a_program_that_fails_in_smoke_leaves_no_point(bench: Bench) -> None:
    ledger = MemoryLedger()
    broken = TOY.replace("yield Frame(*planes)", "yield Frame(planes[0], planes[1], planes[0])")
    with pytest.raises(CandidateFailure) as caught:
        bench.evaluator(ledger).smoke("c1", 0, Program(broken))
    assert caught.value.kind is FailureKind.BAD_OUTPUT
    assert points(ledger) == []
