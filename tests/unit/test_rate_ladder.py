"""Which rates of an anchor are measured: few, and enough to compare with the primary one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evocodec.anchors.encoders import (
    AnchorEncoder,
    anchor_encoder,
    anchor_encoders,
    chosen_encoders,
    primary_encoder,
)
from evocodec.anchors.rate_ladder import MOST_POINTS, WIDEST_GAP, covering_rates
from evocodec.domain.errors import ConfigError
from evocodec.domain.results import Quality, RatePoint, RdCurve, Track

ENCODER = AnchorEncoder("some", (), "obu", (1.0, 63.0), rate_step=1.0)


def point(rate: float, psnr: float) -> RatePoint:
    bits = int(1000 * 2 ** (psnr / 6))
    return RatePoint("clip", rate, bits, 9, Quality(psnr, psnr, psnr, psnr, None, psnr))


PRIMARY = RdCurve("x265", "clip", tuple(point(crf, 52 - 0.6 * crf) for crf in (36, 30, 24, 18, 12)))
LOW, HIGH = 52 - 0.6 * 36, 52 - 0.6 * 12


def measure_until_done(top: float, slope: float, operating: float) -> list[RatePoint]:
    points: list[RatePoint] = []
    while wanted := covering_rates(points, PRIMARY, operating, ENCODER):
        assert len(set(wanted)) == len(wanted)
        assert not {p.qp for p in points} & set(wanted)
        assert all(1 <= rate <= 63 and rate == round(rate) for rate in wanted)
        points += [point(rate, top - slope * rate) for rate in wanted]
        assert len(points) <= MOST_POINTS
    return points


def test_an_encoder_with_the_expected_scale_needs_four_points() -> None:
    points = measure_until_done(top=52, slope=0.6, operating=37.0)
    assert len(points) == 4


@given(
    top=st.floats(46, 64),
    slope=st.floats(0.3, 1.2),
    operating=st.floats(LOW + 4, HIGH - 4),
)
def test_any_linear_scale_is_covered_wherever_it_reaches(
    top: float, slope: float, operating: float
) -> None:
    points = measure_until_done(top, slope, operating)
    values = [p.quality.psnr_y_db for p in points]
    best, worst = max(values), min(values)
    shared = min(best, HIGH) - max(worst, LOW)
    ends = top - slope >= HIGH and top - slope * 63 <= LOW
    assert len(points) >= 4
    if ends:
        assert shared >= 0.8 * (HIGH - LOW)
        assert worst <= operating <= best


def test_a_step_in_the_scale_is_filled() -> None:
    points: list[RatePoint] = []
    while wanted := covering_rates(points, PRIMARY, 37.0, ENCODER):
        points += [point(r, 70 - 3 * r if r < 10 else 42 - 0.2 * r) for r in wanted]
    inside = sorted({*(min(max(p.quality.psnr_y_db, LOW), HIGH) for p in points), LOW})
    gaps = [b - a for a, b in pairwise(inside)]
    assert max(gaps) <= WIDEST_GAP * (HIGH - LOW) + 0.1


def test_a_scale_that_ends_too_early_is_given_up() -> None:
    points = measure_until_done(top=35, slope=0.1, operating=37.0)
    assert min(p.qp for p in points) == 1


def test_primary_comes_first_and_names_are_the_same_in_both_tracks() -> None:
    for track in Track:
        assert primary_encoder(track).base_name == "x265-medium"
        assert anchor_encoders(track)[0] == primary_encoder(track)
    names = [[e.base_name for e in anchor_encoders(track)] for track in Track]
    assert names[0] == names[1]
    assert len(set(names[0])) == 8


def test_chosen_anchors_follow_the_primary_one_without_repetition() -> None:
    chosen = chosen_encoders(("aom-cpu4", "x265-medium", "aom-cpu4"), Track.LOW_DELAY)
    assert [encoder.name for encoder in chosen] == ["x265-medium-ld", "aom-cpu4-ld"]
    assert len(chosen_encoders((), Track.LOW_DELAY)) == 8


def test_an_unknown_anchor_is_told_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no anchor called 'x266'.*x265-medium.*vvenc-medium"):
        anchor_encoder("x266", Track.RANDOM_ACCESS)
