"""Means over frames that are lossless, black or still: such frames do not make a number."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evocodec.curves.bd_rate import bd_rate
from evocodec.curves.compare import FaultKind, compare_curves, pair_faults
from evocodec.curves.rd_curve import make_curve
from evocodec.domain.results import FrameSeries, Metric, Quality, RatePoint, RdCurve
from evocodec.evaluation.guards import Guards, check_guards
from evocodec.metrics.meter import quality_of_series
from evocodec.metrics.psnr import PSNR_CAP_DB, mean_psnr

LUMA = (30.0, 33.0, 36.0, 39.0, 42.0)
SWING = (0.0, 0.7, -0.4, 0.3, -0.6, 0.1, -0.2, 0.4, -0.3)


def quality(luma_db: float, *, black_db: float | None = None, chroma_db: float = 44.0) -> Quality:
    """Nine frames around a quality; before them eight black ones, if their PSNR is given."""
    picture = tuple(luma_db + swing for swing in SWING)
    frames = picture if black_db is None else (*(black_db for _ in range(8)), *picture)
    chroma = tuple(chroma_db for _ in frames)
    return quality_of_series(FrameSeries(frames, chroma, chroma))


def curve(codec: str, factor: float, qualities: list[Quality]) -> RdCurve:
    points = [
        RatePoint("fade", float(index), int(factor * 1000 * 1.6**index), 17, each)
        for index, each in enumerate(qualities)
    ]
    return make_curve(codec, "fade", points)


def test_black_frames_that_one_codec_codes_without_loss_do_not_make_the_figure() -> None:
    without = bd_rate(
        curve("x265", 1.0, [quality(each) for each in LUMA]),
        curve("mine", 1.25, [quality(each) for each in LUMA]),
    ).akima_percent
    # One codec always codes black frames without loss, the other at some rates only.
    blacks = (43.0, 100.0, 100.0, 55.0, 100.0)
    anchor = curve("x265", 1.0, [quality(each, black_db=100.0) for each in LUMA])
    both = zip(LUMA, blacks, strict=True)
    mine = curve("mine", 1.25, [quality(luma, black_db=black) for luma, black in both])
    assert without == pytest.approx(25.0, abs=0.5)
    assert bd_rate(anchor, mine).akima_percent == pytest.approx(without, abs=0.5)
    assert all(found.bd_rate for found in compare_curves(anchor, mine, (Metric.PSNR_Y,)))
    assert {point.quality.limited_frames for point in anchor.points} == {8}


def test_an_ordinary_mean_is_the_mean_of_the_frames_as_jvet_reports_it() -> None:
    frames = [31.0, 36.5, 29.0, 40.0, 33.25]
    assert mean_psnr(frames) == (sum(frames) / 5, 0)
    assert mean_psnr([PSNR_CAP_DB] * 3) == (PSNR_CAP_DB, 0)


@given(
    st.lists(st.floats(5, 100), min_size=1, max_size=12),
    st.integers(0, 11),
    st.floats(0, 60),
)
def test_a_better_frame_never_lowers_the_mean(frames: list[float], which: int, gain: float) -> None:
    before, _ = mean_psnr(frames)
    index = which % len(frames)
    frames[index] = min(100.0, frames[index] + gain)
    after, _ = mean_psnr(frames)
    assert after >= before - 1e-9
    assert min(frames) - 1e-9 <= after <= max(frames) + 1e-9


def test_figures_of_the_old_and_the_new_mean_are_not_compared_in_silence() -> None:
    new = curve("x265", 1.0, [quality(each, black_db=100.0) for each in LUMA])
    old = replace(
        new,
        codec="old",
        points=tuple(
            replace(point, quality=replace(point.quality, limited_frames=None))
            for point in new.points
        ),
    )
    kinds = {fault.kind for fault in pair_faults(new, old)}
    assert FaultKind.DEFINITION in kinds
    assert compare_curves(new, old, (Metric.PSNR_Y,))[0].bd_rate is None
    # Where no frame is limited both definitions are one.
    plain = curve("x265", 1.0, [quality(each) for each in LUMA])
    older = replace(
        plain,
        points=tuple(
            replace(point, quality=replace(point.quality, limited_frames=None))
            for point in plain.points
        ),
    )
    assert compare_curves(plain, older, (Metric.PSNR_Y,))[0].bd_rate is not None


def test_a_vmaf_whose_frames_are_mostly_at_its_ceiling_is_left_out() -> None:
    def scored(codec: str) -> RdCurve:
        base = curve(codec, 1.0, [quality(each) for each in LUMA])
        scores = [(*(100.0,) * 12, *(60.0 + 5 * index,) * 5) for index in range(5)]
        points = [
            replace(
                point,
                quality=quality_of_series(
                    FrameSeries((30.0,) * 17, (40.0,) * 17, (40.0,) * 17, vmaf=each, vmaf_neg=each)
                ),
            )
            for point, each in zip(base.points, scores, strict=True)
        ]
        return replace(base, points=tuple(points))

    found = compare_curves(scored("a"), scored("b"), (Metric.VMAF, Metric.VMAF_NEG))
    assert [each.bd_rate for each in found] == [None, None]
    assert all("saturated" in each.problem for each in found)


def test_lossless_grey_chroma_makes_no_weighted_figure_and_fails_no_codec() -> None:
    anchor = curve("x265", 1.0, [quality(each, chroma_db=PSNR_CAP_DB) for each in LUMA])
    mine = curve("mine", 1.2, [quality(each, chroma_db=62.0) for each in LUMA])
    found = compare_curves(anchor, mine, (Metric.PSNR_611, Metric.PSNR_Y))
    assert found[0].bd_rate is None
    assert found[1].bd_rate is not None
    check_guards(anchor, mine, 36.0, Guards(chroma_margin_db=4.0, worst_frame_margin_db=3.0))
