"""Encode and decode cost of the anchor on this machine."""

from pathlib import Path

from evocodec.anchors.encoders import AnchorEncoder
from evocodec.anchors.measure import measure_anchor
from evocodec.curves.rd_curve import nearest_point
from evocodec.domain.results import Cost, RdCurve
from evocodec.video.clips import Clip


def reference_cost(
    clip: Clip, encoder: AnchorEncoder, curve: RdCurve, operating_psnr_y_db: float, folder: Path
) -> Cost:
    """Encode and decode with the anchor once more on this machine, nearest the operating quality.

    A curve may come from a cache that another machine filled; its cost says nothing about this
    machine.
    """
    nearest = nearest_point(curve, operating_psnr_y_db)
    return measure_anchor(clip, encoder, nearest.qp, folder).cost
