"""Properties that every measured curve has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evocodec.curves.bd_rate import bd_rate
from evocodec.curves.rd_curve import bits_at_quality, make_curve, quality_at_bits
from evocodec.domain.results import Quality, RatePoint, RdCurve


@st.composite
def curves(draw: st.DrawFn, low_db: float = 25.0) -> RdCurve:
    steps = draw(st.lists(st.tuples(st.floats(0.5, 4), st.floats(1.05, 3)), min_size=3, max_size=7))
    psnr, bits = low_db, 20000.0
    pairs = [(bits, psnr)]
    for gain_db, factor in steps:
        psnr, bits = psnr + gain_db, bits * factor
        pairs.append((bits, psnr))
    return make_curve(
        "codec",
        "clip",
        [RatePoint("clip", 0, round(b), 8, Quality(p, p, p, p, None, p)) for b, p in pairs],
    )


@given(curves(), st.floats(0, 1))
def test_rate_and_quality_are_inverse_to_each_other(curve: RdCurve, share: float) -> None:
    low, high = (curve.points[i].quality.psnr_y_db for i in (0, -1))
    wanted = low + share * (high - low)
    bits = bits_at_quality(curve, wanted)
    if curve.points[0].bits <= bits <= curve.points[-1].bits:
        assert bits_at_quality(curve, quality_at_bits(curve, bits)) == pytest.approx(bits, rel=1e-6)


@given(curves(), st.floats(0, 1), st.floats(0, 1))
def test_more_quality_never_costs_fewer_bits(curve: RdCurve, one: float, two: float) -> None:
    low, high = (curve.points[i].quality.psnr_y_db for i in (0, -1))
    less, more = (low + share * (high - low) for share in sorted((one, two)))
    assert bits_at_quality(curve, less) <= bits_at_quality(curve, more) * (1 + 1e-12)


@given(curves(), curves())
def test_swapping_anchor_and_test_inverts_the_bd_rate(one: RdCurve, two: RdCurve) -> None:
    forth, back = bd_rate(one, two), bd_rate(two, one)
    for ours, theirs in (
        (forth.akima_percent, back.akima_percent),
        (forth.pchip_percent, back.pchip_percent),
    ):
        assert (1 + ours / 100) * (1 + theirs / 100) == pytest.approx(1, rel=1e-9)


@given(curves(), st.integers(1, 10))
def test_a_constant_factor_in_bits_is_the_bd_rate(curve: RdCurve, factor: int) -> None:
    scaled = make_curve(
        "test",
        "clip",
        [RatePoint("clip", 0, p.bits * factor, 8, p.quality) for p in curve.points],
    )
    result = bd_rate(curve, scaled)
    assert result.akima_percent == pytest.approx(100 * (factor - 1), abs=1e-3)
    assert result.pchip_percent == pytest.approx(100 * (factor - 1), abs=1e-6)
    assert result.overlap == 1
