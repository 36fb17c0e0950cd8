"""The HEVC anchor: raw streams, reproducible bytes, a curve around the operating rate."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evocodec.anchors.encoders import X265_MEDIUM, AnchorEncoder
from evocodec.anchors.measure import (
    anchor_curve,
    is_cached,
    measure_anchor,
    operating_bits,
    operating_quality_db,
)
from evocodec.curves.bd_rate import bd_rate
from evocodec.curves.rd_curve import check_monotonic
from evocodec.domain.errors import InfrastructureFailure, SourceError
from evocodec.domain.results import RatePoint
from evocodec.domain.video import Frame, StreamInfo
from evocodec.evaluation.scoring import score_candidate
from evocodec.report.rd_plot import plot_rd
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, default_clips, load_clip, make_clip

CARPHONE, CITY, DOG = default_clips()


@pytest.fixture(scope="module")
def carphone() -> Clip:
    return load_clip(CARPHONE).head(12)


@pytest.fixture(scope="module")
def city() -> Clip:
    return load_clip(CITY).head(8)


def with_options(name: str, old: str, new: str) -> AnchorEncoder:
    changed = tuple(argument.replace(old, new) for argument in X265_MEDIUM.arguments)
    assert changed != X265_MEDIUM.arguments
    return dataclasses.replace(X265_MEDIUM, name=name, arguments=changed)


def still(name: str, luma: np.ndarray, count: int = 8) -> Clip:
    height, width = luma.shape
    chroma = np.full(((height + 1) // 2, (width + 1) // 2), 128, np.uint8)
    stream = StreamInfo(width, height, Fraction(25), count)
    frames = (Frame(luma, chroma, chroma),) * count
    return make_clip(ClipSource(name, f"{name}.y4m"), stream, frames)


def test_a_point_counts_the_raw_stream_and_scores_what_decodes(
    carphone: Clip, tmp_path: Path
) -> None:
    point = measure_anchor(carphone, X265_MEDIUM, 28, tmp_path)
    assert (point.clip, point.qp, point.frames) == ("carphone", 28, 12)
    assert point.bits % 8 == 0
    assert 1000 < point.bits // 8 < 6000
    assert 33 < point.quality.psnr_y_db < 37
    assert point.quality.worst_frame_psnr_y_db <= point.quality.psnr_y_db
    assert point.cost.encode_wall_seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_the_same_frames_give_the_same_bytes_however_many_threads(
    city: Clip, tmp_path: Path
) -> None:
    settings = [
        X265_MEDIUM,
        X265_MEDIUM,
        with_options("one-thread", "pools=2", "pools=1"),
        with_options("two-frames", "frame-threads=1", "frame-threads=2"),
    ]
    points = [measure_anchor(city, encoder, 30, tmp_path) for encoder in settings]
    assert len({point.bitstream_sha256 for point in points}) == 1


def test_the_encoders_signature_is_left_out(city: Clip, tmp_path: Path) -> None:
    signed = measure_anchor(city, with_options("signed", "info=0", "info=1"), 40, tmp_path)
    plain = measure_anchor(city, X265_MEDIUM, 40, tmp_path)
    assert signed.bits - plain.bits > 8 * 200
    assert signed.quality == plain.quality


def test_odd_sizes_are_encoded_and_scored_on_their_own_samples(city: Clip, tmp_path: Path) -> None:
    assert city.stream.height % 2 == 1
    assert 30 < measure_anchor(city, X265_MEDIUM, 26, tmp_path).quality.psnr_y_db < 40


def test_a_failing_encoder_is_our_failure_with_its_own_words(city: Clip, tmp_path: Path) -> None:
    broken = with_options("broken", "libx265", "libnosuch")
    with pytest.raises(InfrastructureFailure, match="libnosuch"):
        measure_anchor(city, broken, 30, tmp_path)


@pytest.mark.parametrize("source", [CARPHONE, CITY, DOG], ids=lambda source: source.name)
def test_the_curve_brackets_the_operating_rate(source: ClipSource, tmp_path: Path) -> None:
    clip = load_clip(source)
    curve = anchor_curve(clip, X265_MEDIUM, tmp_path, jobs=2)
    target = operating_bits(clip.stream)
    below = sum(point.bits < target for point in curve.points)
    assert len(curve.points) - below == below == 3
    check_monotonic(curve)
    quality = operating_quality_db(curve, clip.stream)
    assert curve.points[2].quality.psnr_y_db < quality < curve.points[3].quality.psnr_y_db


def test_hevc_is_ten_megabits_by_definition(city: Clip, tmp_path: Path) -> None:
    curve = anchor_curve(city, X265_MEDIUM, tmp_path)
    score = score_candidate(
        streams={"city": city.stream},
        anchors={"city": curve},
        operating_db={"city": operating_quality_db(curve, city.stream)},
        curves={"city": curve},
        program_bytes=0,
        confidence=0.9,
    )
    assert (score.bitrate_mbps, score.bd_rate_percent) == (10.0, 0.0)


def test_a_measured_curve_is_not_measured_again(carphone: Clip, tmp_path: Path) -> None:
    heard: list[RatePoint] = []
    assert not is_cached(carphone, X265_MEDIUM, tmp_path)
    first = anchor_curve(carphone, X265_MEDIUM, tmp_path, jobs=2, on_point=heard.append)
    assert set(first.points) <= set(heard)
    assert is_cached(carphone, X265_MEDIUM, tmp_path)
    heard.clear()
    assert anchor_curve(carphone, X265_MEDIUM, tmp_path, on_point=heard.append) == first
    assert heard == []


def test_the_cache_knows_samples_and_settings_not_names(carphone: Clip, tmp_path: Path) -> None:
    anchor_curve(carphone, X265_MEDIUM, tmp_path)
    renamed = dataclasses.replace(carphone, name="other")
    heard: list[RatePoint] = []
    again = anchor_curve(renamed, X265_MEDIUM, tmp_path, on_point=heard.append)
    assert heard == []
    assert again.clip == "other"
    assert {point.clip for point in again.points} == {"other"}
    assert not is_cached(carphone.head(11), X265_MEDIUM, tmp_path)
    assert not is_cached(carphone, with_options("x265-medium", "keyint=-1", "keyint=8"), tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "wrong types"])
def test_a_damaged_cache_file_is_measured_again(
    damage: str, carphone: Clip, tmp_path: Path
) -> None:
    first = anchor_curve(carphone, X265_MEDIUM, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_text()
    content = json.loads(whole)
    content["identity"]["ffmpeg"] = "another version"
    file.write_text(
        {
            "empty": "",
            "cut": whole[: len(whole) // 2],
            "other": json.dumps(content),
            "wrong types": whole.replace('"bits": ', '"bits": "many", "was": '),
        }[damage]
    )
    assert not is_cached(carphone, X265_MEDIUM, tmp_path)
    again = anchor_curve(carphone, X265_MEDIUM, tmp_path)
    assert [p.bitstream_sha256 for p in again.points] == [p.bitstream_sha256 for p in first.points]
    assert is_cached(carphone, X265_MEDIUM, tmp_path)
    assert list(tmp_path.iterdir()) == [file]


def test_a_cache_that_cannot_be_written_is_told(carphone: Clip, tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    with pytest.raises(InfrastructureFailure, match="cannot keep an anchor curve"):
        anchor_curve(carphone.head(2), X265_MEDIUM, occupied)


def test_a_clip_that_is_too_easy_is_refused_with_the_reason(tmp_path: Path) -> None:
    grey = still("grey", np.full((64, 64), 128, np.uint8))
    with pytest.raises(SourceError, match="lossless or nearly so"):
        anchor_curve(grey, X265_MEDIUM, tmp_path, jobs=2)


def test_a_clip_that_is_too_hard_is_refused_with_the_reason(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    noise = still("noise", np.zeros((64, 64), np.uint8))
    frames = tuple(
        frame._replace(y=generator.integers(0, 256, (64, 64), dtype=np.uint8))
        for frame in noise.frames
    )
    with pytest.raises(SourceError, match="too noisy"):
        anchor_curve(make_clip(noise.source, noise.stream, frames), X265_MEDIUM, tmp_path, jobs=2)


def test_b_frames_matter_as_much_as_is_said(tmp_path: Path) -> None:
    clip = load_clip(dataclasses.replace(CARPHONE, frames=32))
    with_b = anchor_curve(clip, X265_MEDIUM, tmp_path, jobs=2)
    without = with_options("x265-no-b", "info=0", "info=0:bframes=0")
    assert bd_rate(with_b, anchor_curve(clip, without, tmp_path, jobs=2)).akima_percent > 10


def test_sparse_rate_points_tell_the_operating_quality_all_the_same(tmp_path: Path) -> None:
    clip = load_clip(CITY)
    curve = anchor_curve(clip, X265_MEDIUM, tmp_path, jobs=2)
    sparse = dataclasses.replace(curve, points=curve.points[::2] + curve.points[-1:])
    dense = operating_quality_db(curve, clip.stream)
    assert operating_quality_db(sparse, clip.stream) == pytest.approx(dense, abs=0.1)


def test_a_plot_is_drawn_with_its_text_even_of_a_broken_curve(city: Clip, tmp_path: Path) -> None:
    curve = anchor_curve(city, X265_MEDIUM, tmp_path / "cache")
    broken = dataclasses.replace(curve, codec="v2", points=curve.points[::-1])
    png, svg = tmp_path / "rd.png", tmp_path / "rd.svg"

    def draw() -> str:
        plot_rd(
            anchors={"city": curve},
            curves={"v1": {"city": curve}, "v2": {"city": broken}, "v3": {}},
            streams={"city": city.stream},
            title="Versions",
            png=png,
            svg=svg,
        )
        return svg.read_text()

    text = draw()
    assert png.read_bytes().startswith(b"\x89PNG")
    for word in ("Versions", "city", "x265-medium", "v1", "v2", "v3", "kbit/s", "PSNR-Y"):
        assert word in text
    assert draw() == text


def test_a_plot_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clip"):
        plot_rd(
            anchors={},
            curves={},
            streams={},
            title="",
            png=tmp_path / "rd.png",
            svg=tmp_path / "rd.svg",
        )
