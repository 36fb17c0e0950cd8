"""The chroma guard: at equal luma, colour must come near the anchor's."""

import math

import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Quality, RatePoint, RdCurve
from evocodec.evaluation.chroma import check_chroma, chroma_loss_db


def curve(codec: str, *, u_db: float, v_db: float) -> RdCurve:
    """PSNR-Y 30, 34, 38 dB, with chroma so far above it."""
    points = [
        RatePoint("clip", 0, round(1000 * 2**step), 9, quality(30.0 + 4 * step, u_db, v_db))
        for step in range(3)
    ]
    return RdCurve(codec, "clip", tuple(points))


def quality(psnr_y_db: float, u_db: float, v_db: float) -> Quality:
    u, v = psnr_y_db + u_db, psnr_y_db + v_db
    return Quality(psnr_y_db, u, v, (6 * psnr_y_db + u + v) / 8, None, psnr_y_db)


ANCHOR = curve("x265", u_db=5.0, v_db=6.0)


def test_the_loss_is_read_at_the_operating_quality_for_each_plane() -> None:
    loss_u, loss_v = chroma_loss_db(ANCHOR, curve("c1", u_db=3.0, v_db=7.0), 35.3)
    assert math.isclose(loss_u, 2.0, abs_tol=1e-9)
    assert math.isclose(loss_v, -1.0, abs_tol=1e-9)


def test_a_loss_up_to_the_margin_counts_as_the_same_quality() -> None:
    check_chroma(ANCHOR, curve("c1", u_db=1.0, v_db=6.0), 34.0, 4.0)


@pytest.mark.parametrize(("u_db", "v_db", "plane"), [(0.9, 6.0, "U"), (5.0, 1.9, "V")])
def test_one_plane_beyond_the_margin_is_refused_by_name(
    u_db: float, v_db: float, plane: str
) -> None:
    with pytest.raises(CandidateFailure, match=f"PSNR-{plane} is 4.1 dB below") as caught:
        check_chroma(ANCHOR, curve("c1", u_db=u_db, v_db=v_db), 34.0, 4.0)
    assert caught.value.kind is FailureKind.QUALITY
