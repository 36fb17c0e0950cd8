"""Guards on chroma quality and on the worst frames, which a mean PSNR-Y does not show.

Rates are compared at equal mean PSNR-Y. A codec that destroys colour would gain every bit that
colour costs, and one that shows every frame twice pays for the bad half with the good one. So at
the operating quality chroma and the worst frame have to come near the anchor's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Quality, RdCurve

_FLAWLESS_DB = 60.0
"""A mean squared error of 1/15 of a level: grey chroma that is lossless is not better than that."""


@dataclass(frozen=True, slots=True)
class Guards:
    """Largest loss below the anchor at equal PSNR-Y, in dB, for each guarded figure.

    Measured on the built-in clips: the seed program's chroma lies 0.9 to 2.3 dB below x265's, and
    the mean colour of each frame in place of chroma 4.9 to 20 dB. The seed program's worst frame
    is 0 to 2 dB better than x265's; repeating every second frame of carphone costs 10 dB.
    """

    chroma_margin_db: float
    worst_frame_margin_db: float


def loss_db(anchor: RdCurve, curve: RdCurve, psnr_y_db: float, figure: str) -> float:
    """Loss of a figure of ``Quality`` below the anchor's at one PSNR-Y; negative if above.

    Linear between the two points either side, and an end's value beyond it. Above 60 dB nothing is
    told apart.
    """
    value: Callable[[Quality], float] = attrgetter(figure)
    return _at(anchor, psnr_y_db, value) - _at(curve, psnr_y_db, value)


def check_guards(anchor: RdCurve, curve: RdCurve, psnr_y_db: float, guards: Guards) -> None:
    """Raise ``CandidateFailure`` (quality) where a figure is too far below the anchor's."""
    for plane in "uv":
        loss = loss_db(anchor, curve, psnr_y_db, f"psnr_{plane}_db")
        if loss > guards.chroma_margin_db:
            raise _refused(
                curve,
                f"colour is too coarse: PSNR-{plane.upper()} is {loss:.1f} dB below HEVC's",
                psnr_y_db,
                guards.chroma_margin_db,
                "Spend more bits on chroma",
            )
    loss = loss_db(anchor, curve, psnr_y_db, "worst_frame_psnr_y_db")
    if loss > guards.worst_frame_margin_db:
        raise _refused(
            curve,
            f"some frames are given up: PSNR-Y of the worst is {loss:.1f} dB below HEVC's worst",
            psnr_y_db,
            guards.worst_frame_margin_db,
            "Spread quality more evenly over frames",
        )


def _refused(
    curve: RdCurve, what: str, psnr_y_db: float, margin_db: float, advice: str
) -> CandidateFailure:
    return CandidateFailure(
        FailureKind.QUALITY,
        f"{curve.clip}: {what} where the mean PSNR-Y is equal ({psnr_y_db:.2f} dB); at most "
        f"{margin_db:g} dB count as the same quality. {advice}",
    )


def _at(curve: RdCurve, psnr_y_db: float, value: Callable[[Quality], float]) -> float:
    points = sorted((point.quality for point in curve.points), key=attrgetter("psnr_y_db"))
    luma = [quality.psnr_y_db for quality in points]
    figures = [min(value(quality), _FLAWLESS_DB) for quality in points]
    return float(np.interp(psnr_y_db, luma, figures))
