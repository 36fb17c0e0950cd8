"""The chroma guard: luma decides, so chroma must not pay for it.

Rates are compared at equal PSNR-Y, which never looks at U and V: a codec that destroys colour
would gain every bit that colour costs. So at the operating quality both planes must come near the
anchor's.
"""

from operator import attrgetter

import numpy as np

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import RdCurve

CHROMA_MARGIN_DB = 4.0
"""The seed program spends 0.9 to 2.3 dB less on chroma than x265; grey pictures lose 6 and more."""


def chroma_loss_db(anchor: RdCurve, curve: RdCurve, psnr_y_db: float) -> tuple[float, float]:
    """How far PSNR-U and PSNR-V lie below the anchor's at one PSNR-Y; negative where above.

    Linear between the two points either side, and an end's value beyond it.
    """
    ours, theirs = _at(curve, psnr_y_db), _at(anchor, psnr_y_db)
    return theirs[0] - ours[0], theirs[1] - ours[1]


def check_chroma(anchor: RdCurve, curve: RdCurve, psnr_y_db: float, margin_db: float) -> None:
    """Raise ``CandidateFailure`` (quality) where a chroma plane lies too far below the anchor's."""
    for plane, loss_db in zip("UV", chroma_loss_db(anchor, curve, psnr_y_db), strict=True):
        if loss_db > margin_db:
            raise CandidateFailure(
                FailureKind.QUALITY,
                f"{curve.clip}: colour is too coarse: PSNR-{plane} is {loss_db:.1f} dB below "
                f"HEVC's where PSNR-Y is equal ({psnr_y_db:.2f} dB); at most {margin_db:g} dB "
                "count as the same quality. Spend more bits on chroma",
            )


def _at(curve: RdCurve, psnr_y_db: float) -> tuple[float, float]:
    points = sorted((point.quality for point in curve.points), key=attrgetter("psnr_y_db"))
    luma = [quality.psnr_y_db for quality in points]
    return (
        float(np.interp(psnr_y_db, luma, [quality.psnr_u_db for quality in points])),
        float(np.interp(psnr_y_db, luma, [quality.psnr_v_db for quality in points])),
    )
