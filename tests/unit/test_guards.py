"""The guards: at equal mean luma, colour and the worst frame must come near the anchor's."""

import math

import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Quality, RatePoint, RdCurve
from evocodec.evaluation.guards import Guards, check_guards, loss_db

GUARDS = Guards(chroma_margin_db=4.0, worst_frame_margin_db=3.0)


def curve(*, u_db: float = 5.0, v_db: float = 6.0, worst_db: float = -2.0) -> RdCurve:
    """Mean PSNR-Y 30, 34, 38 dB, with the other figures so far above it."""
    points = [
        RatePoint(
            "clip", 0, round(1000 * 2**step), 9, quality(30.0 + 4 * step, u_db, v_db, worst_db)
        )
        for step in range(3)
    ]
    return RdCurve("c1", "clip", tuple(points))


def quality(psnr_y_db: float, u_db: float, v_db: float, worst_db: float) -> Quality:
    u, v = psnr_y_db + u_db, psnr_y_db + v_db
    return Quality(psnr_y_db, u, v, (6 * psnr_y_db + u + v) / 8, None, psnr_y_db + worst_db)


ANCHOR = curve()


def test_a_loss_is_read_at_the_operating_quality() -> None:
    ours = curve(u_db=3.0, v_db=7.0)
    assert math.isclose(loss_db(ANCHOR, ours, 35.3, "psnr_u_db"), 2.0, abs_tol=1e-9)
    assert math.isclose(loss_db(ANCHOR, ours, 35.3, "psnr_v_db"), -1.0, abs_tol=1e-9)
    assert math.isclose(loss_db(ANCHOR, ours, 35.3, "worst_frame_psnr_y_db"), 0, abs_tol=1e-9)


def test_losses_up_to_the_margins_count_as_the_same_quality() -> None:
    check_guards(ANCHOR, curve(u_db=1.0, v_db=2.0, worst_db=-5.0), 34.0, GUARDS)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (curve(u_db=0.9), "PSNR-U is 4.1 dB below"),
        (curve(v_db=1.9), "PSNR-V is 4.1 dB below"),
        (curve(worst_db=-5.1), "the worst is 3.1 dB below"),
    ],
    ids=["u", "v", "worst frame"],
)
def test_one_figure_beyond_its_margin_is_refused_by_name(ours: RdCurve, said: str) -> None:
    with pytest.raises(CandidateFailure, match=said) as caught:
        check_guards(ANCHOR, ours, 34.0, GUARDS)
    assert caught.value.kind is FailureKind.QUALITY
