"""Derived clips: functions of a seed, of real frames, and of every size."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from evocodec.domain.errors import SourceError
from evocodec.domain.results import Quality, RatePoint, RdCurve
from evocodec.domain.video import Frame, StreamInfo
from evocodec.evaluation.held_out import draw_clips, first_qps, more_qps, seed_name
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, make_clip
from evocodec.video.derived import MAX_SAMPLES, Camera, derive_clip, film

FRAMES = 6


def moving(name: str, width: int, height: int, count: int) -> Clip:
    """Smooth noise that moves two samples a frame; chroma is luma at half the size."""
    rng = np.random.default_rng(len(name))
    texture = rng.integers(16, 235, (height, width + 2 * count), dtype=np.uint8)
    picture = cv2.GaussianBlur(texture, (0, 0), 2.0)
    frames = []
    for index in range(count):
        y = np.ascontiguousarray(picture[:, 2 * index : 2 * index + width])
        half = cv2.resize(y, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        frames.append(Frame(y, half, half))
    stream = StreamInfo(width, height, Fraction(25), count)
    return make_clip(ClipSource(name, ""), stream, tuple(frames))


POOL = (moving("one", 176, 144, 40), moving("other", 239, 135, 30))


def test_the_same_seed_gives_the_same_samples_and_another_does_not() -> None:
    again = derive_clip(POOL, b"seed", 3, frames=FRAMES)
    assert derive_clip(POOL, b"seed", 3, frames=FRAMES).sha256 == again.sha256
    others = {
        derive_clip(POOL, b"seeds", 3, frames=FRAMES).sha256,
        derive_clip(POOL, b"seed", 4, frames=FRAMES).sha256,
        derive_clip(POOL, b"seed", 3, frames=FRAMES, attempt=1).sha256,
    }
    assert len(others | {again.sha256}) == 4


def test_every_derived_clip_is_a_legal_one_and_all_kinds_of_sizes_come() -> None:
    clips = [derive_clip(POOL, b"seed", index, frames=FRAMES) for index in range(40)]
    for clip in clips:
        stream = clip.stream
        assert len(clip.frames) == stream.frame_count == FRAMES
        assert stream.width >= 32
        assert stream.height >= 32
        assert stream.width * stream.height <= MAX_SAMPLES
        for frame in clip.frames:
            assert frame.y.shape == (stream.height, stream.width)
            assert frame.u.shape == (stream.chroma_height, stream.chroma_width) == frame.v.shape
            assert all(plane.dtype == np.uint8 for plane in frame)
    assert {(c.stream.width % 2, c.stream.height % 2) for c in clips} == {
        (0, 0), (0, 1), (1, 0), (1, 1)
    }  # fmt: skip
    assert len({clip.sha256 for clip in clips}) == 40


def test_no_derived_clip_holds_a_whole_development_picture() -> None:
    known = {frame.y.tobytes() for clip in POOL for frame in clip.frames}
    for index in range(20):
        clip = derive_clip(POOL, b"seed", index, frames=FRAMES)
        assert not any(frame.y.tobytes() in known for frame in clip.frames)


def test_chroma_stays_under_its_luma_whatever_is_done_to_the_picture() -> None:
    for index in range(12):
        clip = derive_clip(POOL, b"siting", index, frames=2)
        y, u, _ = clip.frames[1]
        height, width = (side // 2 * 2 for side in y.shape)
        small = cv2.resize(
            y[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA
        ).astype(int)
        inside = (slice(1, height // 2 - 1), slice(1, width // 2 - 1))
        chroma = u[: height // 2, : width // 2].astype(int)
        moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        errors = [np.abs(np.roll(small, move, (0, 1)) - chroma)[inside].mean() for move in moves]
        assert moves[int(np.argmin(errors))] == (0, 0), index


def test_a_clip_with_too_few_frames_is_filmed_instead() -> None:
    still = moving("still", 96, 80, 1)
    clip = derive_clip([still], b"seed", 0, frames=FRAMES)
    assert len({frame.y.tobytes() for frame in clip.frames}) == FRAMES


def test_the_camera_moves_by_parts_of_a_sample() -> None:
    rng = np.random.default_rng(1)
    ramp = np.tile(np.linspace(40, 200, 160).astype(np.uint8), (90, 1))
    flat = np.full((45, 80), 128, np.uint8)
    camera = Camera((60.0, 45.0), (0.5, 0.0), 0.0, 1.0, 0.0, 0.0, 0.0, noise=0.0)
    frames = film(Frame(ramp, flat, flat), camera, (64, 48), 9, rng)
    moved = frames[8].y.astype(float) - frames[0].y
    slope = (200 - 40) / 159
    assert moved[8:-8, 8:-8].mean() == pytest.approx(8 * 0.5 * slope, abs=0.1)
    assert np.ptp(frames[8].u) == 0


def test_a_source_without_a_usable_clip_is_named() -> None:
    def never(clip: Clip) -> tuple[RdCurve, float]:
        raise SourceError(f"{clip.name} is too easy")

    with pytest.raises(SourceError, match=r"from (one|other) in 16 draws.*too easy"):
        draw_clips(POOL, b"seed", count=1, frames=2, anchor_of=never)


def test_unusable_clips_are_drawn_again_and_sources_take_turns() -> None:
    refused: list[str] = []

    def sometimes(clip: Clip) -> tuple[RdCurve, float]:
        if clip.sha256 not in refused and len(refused) % 2 == 0:
            refused.append(clip.sha256)
            raise SourceError("not this one")
        if len(refused) % 2:
            refused.append("")
        return RdCurve("x265", clip.name, ()), 35.0

    drawn = draw_clips(POOL, b"seed", count=2, frames=2, anchor_of=sometimes)
    assert sorted(held.derived_from for held in drawn) == ["one", "other"]
    assert not {held.clip.sha256 for held in drawn} & set(refused)
    assert all(held.clip.name.startswith(f"held-{seed_name(b'seed')[:8]}") for held in drawn)


def point(qp: float, psnr_y_db: float) -> RatePoint:
    quality = Quality(psnr_y_db, psnr_y_db, psnr_y_db, psnr_y_db, None, psnr_y_db)
    return RatePoint("clip", qp, 1000, 9, quality)


def test_three_rates_suffice_where_the_operating_quality_lies_between() -> None:
    assert first_qps(30.0) == (26.0, 30.0, 34.0)
    assert first_qps(62.0) == (55.0, 59.0, 63.0)
    points = [point(26, 40), point(30, 38), point(34, 36)]
    assert more_qps(points, 37.0) == ()


@pytest.mark.parametrize(("wanted_db", "lower", "upper"), [(43.0, 14.0, 22.0), (31.0, 40.0, 48.0)])
def test_rates_go_outwards_until_the_operating_quality_lies_between(
    wanted_db: float, lower: float, upper: float
) -> None:
    points = [point(26, 40), point(30, 38), point(34, 36)]
    (qp,) = more_qps(points, wanted_db)
    assert lower <= qp <= upper


def test_the_end_of_the_scale_is_the_end() -> None:
    points = [point(0, 40), point(4, 38), point(8, 36)]
    assert more_qps(points, 45.0) == ()
