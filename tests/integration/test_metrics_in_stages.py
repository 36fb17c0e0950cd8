"""Figures of every frame, and VMAF where it is wanted, on the way from the scorer to the ledger."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evocodec.anchors.encoders import X265_MEDIUM
from evocodec.anchors.measure import anchor_curve, operating_quality_db
from evocodec.codec.program import Program
from evocodec.domain.events import Evaluated, PointMeasured
from evocodec.domain.results import RatePoint, RdCurve, Score, Stage
from evocodec.evaluation.guards import Guards
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.execution.engine import local_engine
from evocodec.metrics.meter import quality_of_series
from evocodec.metrics.series import series_from_json
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.store.blobs import FileBlobStore
from evocodec.store.event_json import event_to_json
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
RUN = "run-1"
FRAMES = 5


@pytest.fixture(scope="module")
def clip() -> Clip:
    source = ClipSource("carphone", default_clips()[0].path, frames=FRAMES, scale=(96, 80))
    return load_clip(source)


@pytest.fixture(scope="module")
def anchor(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> RdCurve:
    return anchor_curve(clip, X265_MEDIUM, tmp_path_factory.mktemp("anchors"))


@contextmanager
def evaluating(
    clip: Clip, anchor: RdCurve, ledger: MemoryLedger, *, vmaf: bool, blobs: FileBlobStore | None
) -> Iterator[StagedEvaluator]:
    engine = local_engine(
        default_engine_options(
            limits=default_limits(wall_seconds=20, cpu_seconds=20, memory_bytes=512 * MEBIBYTE),
            policy=default_policy(),
            writer_id="candidate",
            local_cpus=2,
            vmaf=vmaf,
        )
    )
    engine.start()
    try:
        yield StagedEvaluator(
            engine,
            run_id=RUN,
            clips={clip.name: clip},
            anchors={clip.name: anchor},
            operating_db={clip.name: operating_quality_db(anchor, clip.stream)},
            record=ledger.record,
            recorded=lambda key: ledger.get(RUN, key),
            now=lambda: "2026-01-01T00:00:00.000",
            settings=default_stage_settings(
                guards=Guards(99.0, 99.0)
            ),  # the toy is no good at colour
            store_series=blobs.put if blobs is not None else None,
        )
    finally:
        engine.close()


def measured(ledger: MemoryLedger, stage: Stage) -> list[PointMeasured]:
    return [
        event
        for _, event in ledger.events(RUN)
        if isinstance(event, PointMeasured) and event.stage is stage
    ]


def test_every_point_of_a_whole_clip_has_vmaf_and_leaves_its_series_in_a_blob(
    clip: Clip, anchor: RdCurve, tmp_path: Path
) -> None:
    ledger, blobs = MemoryLedger(), FileBlobStore(tmp_path / "blobs")
    with evaluating(clip, anchor, ledger, vmaf=True, blobs=blobs) as evaluator:
        evaluator.smoke("c1", 0, Program(TOY))
        evaluator.full("c1", 0, Program(TOY))
    full = measured(ledger, Stage.FULL)
    assert len(full) >= 4
    for event in full:
        series = series_from_json(blobs.get(event.point.series_sha256))
        assert quality_of_series(series) == event.point.quality
        assert len(series.psnr_y_db) == len(series.vmaf) == len(series.vmaf_neg) == FRAMES
        assert len(event_to_json(event)) < 1500
    assert {event.point.quality.vmaf for event in measured(ledger, Stage.SMOKE)} == {None}
    kept = [
        point.series
        for _, event in ledger.events(RUN)
        if isinstance(event, PointMeasured | Evaluated)
        for point in points_of(event)
    ]
    assert set(kept) == {None}


def test_without_a_blob_store_the_series_stays_and_without_wanting_it_there_is_no_vmaf(
    clip: Clip, anchor: RdCurve
) -> None:
    with evaluating(clip, anchor, MemoryLedger(), vmaf=False, blobs=None) as evaluator:
        score = evaluator.full("c1", 0, Program(TOY))
    every = list(points_of_score(score))
    assert every
    for point in every:
        assert point.series is not None
        assert len(point.series.psnr_y_db) == FRAMES
        assert point.quality.vmaf is None
        assert point.series.vmaf == ()


def points_of(event: PointMeasured | Evaluated) -> list[RatePoint]:
    return [event.point] if isinstance(event, PointMeasured) else points_of_score(event.score)


def points_of_score(score: Score) -> list[RatePoint]:
    return [point for clip in score.clips for point in clip.curve.points]
