"""Whatever a codec does with qp, the plan ends, with a usable curve or with a reason."""

import math
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from evocodec.curves.bd_rate import MIN_OVERLAP, bd_rate
from evocodec.curves.rd_curve import bits_at_quality, make_curve, quality_at_bits
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Quality, RatePoint
from evocodec.evaluation.rate_plan import initial_qps, next_qps

Codec = Callable[[float], tuple[int, float]]


def point(qp: float, bits: int, psnr_y_db: float) -> RatePoint:
    quality = Quality(psnr_y_db, psnr_y_db, psnr_y_db, psnr_y_db, None, psnr_y_db)
    return RatePoint("clip", qp, bits, 8, quality)


ANCHOR = make_curve(
    "x265-medium", "clip", [point(k, round(20000 * 2**k), 30.0 + 2.6 * k) for k in range(6)]
)
OPERATING_DB = quality_at_bits(ANCHOR, 110000)


def run(codec: Codec, relative: Codec | None, max_points: int) -> list[RatePoint] | None:
    """Run the plan to its end; None when it gave up with a candidate's failure."""
    measured: list[RatePoint] = []
    known = [point(qp, *relative(qp)) for qp in RELATIVE_QPS] if relative else []
    wanted = initial_qps(ANCHOR, OPERATING_DB, known)
    for _ in range(max_points + 2):
        taken = {p.qp for p in measured}
        assert taken.isdisjoint(wanted)
        assert len(set(wanted)) == len(wanted)
        assert all(0 <= qp <= 63 for qp in wanted)
        measured += [point(qp, *codec(qp)) for qp in wanted]
        try:
            wanted = next_qps(ANCHOR, measured, OPERATING_DB, max_points=max_points)
        except CandidateFailure as failure:
            gave_up = failure
            break
        if not wanted:
            return measured
        assert len(measured) + len(wanted) <= max(max_points, 6)
    else:
        raise AssertionError("the plan does not end")
    assert gave_up.kind is FailureKind.QUALITY
    assert gave_up.message
    return None


RELATIVE_QPS = (6.0, 17.5, 29.0, 44.0)


@given(
    best_db=st.floats(44.5, 90),
    worst_db=st.floats(5, 29),
    bend=st.floats(0.5, 2.0),
    efficiency=st.floats(0.2, 5),
    shift_db=st.none() | st.floats(-3, 3),
)
def test_every_reasonable_codec_gets_a_usable_curve(
    best_db: float, worst_db: float, bend: float, efficiency: float, shift_db: float | None
) -> None:
    def codec(qp: float) -> tuple[int, float]:
        psnr = best_db - (best_db - worst_db) * (qp / 63) ** bend
        return round(1e6 * efficiency * 2 ** ((psnr - 30) / 2.6)), psnr

    def relative(qp: float) -> tuple[int, float]:
        bits, psnr = codec(qp)
        return bits, psnr + (shift_db or 0.0)

    measured = run(codec, None if shift_db is None else relative, max_points=10)
    assert measured is not None
    curve = make_curve("candidate", "clip", measured)
    assert bd_rate(ANCHOR, curve).overlap >= MIN_OVERLAP
    assert bits_at_quality(curve, OPERATING_DB) > 0


@given(
    table=st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 100)), min_size=1, max_size=40),
    relative=st.booleans(),
    max_points=st.integers(4, 12),
)
def test_any_codec_at_all_ends_with_a_curve_or_a_reason(
    table: list[tuple[int, float]], relative: bool, max_points: int
) -> None:
    def codec(qp: float) -> tuple[int, float]:
        return table[math.floor(qp / 63.01 * len(table))]

    run(codec, codec if relative else None, max_points)


@given(
    start=st.floats(-20, 100),
    slopes=st.lists(st.floats(0, 3), min_size=64, max_size=64),
    max_points=st.integers(4, 12),
)
def test_any_falling_codec_ends_with_a_curve_or_a_reason(
    start: float, slopes: list[float], max_points: int
) -> None:
    def codec(qp: float) -> tuple[int, float]:
        psnr = min(100.0, start + 40 - sum(slopes[: round(qp)]))
        return 1000 + round(100 * 2 ** ((psnr + 100) / 12)), psnr

    measured = run(codec, None, max_points)
    if measured is not None:
        curve = make_curve("candidate", "clip", measured)
        assert len(curve.points) >= 4
        assert bd_rate(ANCHOR, curve).overlap >= MIN_OVERLAP
