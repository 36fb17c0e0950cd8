"""The anchor's time is of this machine and hour, whatever the cache says."""

from dataclasses import replace
from pathlib import Path

from evocodec.anchors.encoders import primary_encoder
from evocodec.anchors.measure import measure_anchor
from evocodec.anchors.reference_cost import reference_cost
from evocodec.curves.rd_curve import make_curve
from evocodec.domain.results import Cost, Track
from evocodec.evaluation.cost import time_ratios
from evocodec.video.clips import default_clips, load_clip


def test_x265_is_timed_anew_beside_a_curve_from_elsewhere(tmp_path: Path) -> None:
    clip = load_clip(replace(default_clips()[0], frames=4))
    encoder = primary_encoder(Track.RANDOM_ACCESS)
    points = [measure_anchor(clip, encoder, crf, tmp_path) for crf in (24.0, 34.0)]
    elsewhere = Cost(9999.0, 9999.0, 9999.0, 9999.0, 0, 4)
    cached = make_curve(encoder.name, clip.name, [replace(p, cost=elsewhere) for p in points])
    wanted_db = points[0].quality.psnr_y_db
    fresh = reference_cost(clip, encoder, cached, wanted_db, tmp_path)
    assert 0 < fresh.encode_cpu_seconds < 60
    assert 0 < fresh.decode_cpu_seconds < 60
    assert fresh.frames == 4
    encode, decode = time_ratios({clip.name: cached}, {clip.name: wanted_db}, {clip.name: fresh})
    assert encode is not None
    assert decode is not None
    assert min(encode, decode) > 100
    assert list(tmp_path.iterdir()) == []
