"""Every anchor in both tracks: raw streams of one intra picture, the same bytes every time."""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evocodec.anchors.encoders import (
    X265_MEDIUM,
    AnchorEncoder,
    anchor_encoder,
    anchor_encoders,
    primary_encoder,
)
from evocodec.anchors.measure import (
    AnchorEvent,
    anchor_curve,
    covering_curve,
    is_cached,
    measure_anchor,
    operating_quality_db,
)
from evocodec.anchors.process import AnchorDecoding, encode
from evocodec.curves.bd_rate import quality_overlap
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import RatePoint, Track
from evocodec.domain.video import Frame
from evocodec.video.clips import Clip, default_clips, load_clip, make_clip
from evocodec.video.ffmpeg import ffmpeg_exe

FRAMES = 9
EVERY = [*anchor_encoders(Track.RANDOM_ACCESS), *anchor_encoders(Track.LOW_DELAY)]
LOW_DELAY = anchor_encoders(Track.LOW_DELAY)
BY_MUXER = {encoder.muxer: encoder for encoder in anchor_encoders(Track.RANDOM_ACCESS)}


def by_name(encoder: AnchorEncoder) -> str:
    return encoder.name


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(default_clips()[0]).head(FRAMES)


def coarse(encoder: AnchorEncoder) -> float:
    return 55.0 if encoder.muxer == "obu" else 36.0


@pytest.fixture(scope="module")
def stream_of(
    clip: Clip, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[AnchorEncoder], Path]:
    """Raw streams, each encoded once for all tests."""
    folder = tmp_path_factory.mktemp("streams")

    def get(encoder: AnchorEncoder) -> Path:
        file = folder / f"{encoder.name}.{encoder.muxer}"
        if not file.exists():
            encode(clip.frames, clip.stream, encoder, coarse(encoder), file)
        return file

    return get


@contextmanager
def one_processor() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def headers(stream: Path) -> str:
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(stream), "-c", "copy"]
    done = subprocess.run(
        [*command, "-bsf:v", "trace_headers", "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def values(report: str, name: str) -> list[int]:
    return [int(found) for found in re.findall(rf"\b{name}\b.* = (-?\d+)$", report, re.MULTILINE)]


def is_in_display_order(stream: Path) -> bool:
    report = headers(stream)
    if stream.suffix == ".obu":
        # A frame that is not shown, or shown again later, is one that was reordered.
        shown = values(report, "show_frame")
        return (
            len(shown) == FRAMES
            and set(shown) == {1}
            and not any(values(report, "show_existing_frame"))
        )
    if stream.suffix == ".h264" and values(report, "pic_order_cnt_type")[0] == 2:
        return True  # 8.2.1.3 of the standard: output order is decoding order
    names = {
        ".h264": "pic_order_cnt_lsb",
        ".hevc": "slice_pic_order_cnt_lsb",
        ".vvc": "ph_pic_order_cnt_lsb",
    }
    order = values(report, names[stream.suffix])
    assert len(order) >= FRAMES - 1  # an IDR picture need not carry its zero
    return order == sorted(order)


@pytest.mark.parametrize("encoder", EVERY, ids=by_name)
def test_a_stream_decodes_to_every_frame_and_has_one_intra_picture(
    encoder: AnchorEncoder, clip: Clip, stream_of: Callable[[AnchorEncoder], Path]
) -> None:
    stream = stream_of(encoder)
    decoding = AnchorDecoding(stream, clip.stream)
    assert sum(1 for _ in decoding.frames()) == FRAMES
    assert decoding.usage.cpu_seconds > 0
    done = subprocess.run(
        [*(ffmpeg_exe(), "-hide_banner", "-i", str(stream)), "-vf", "showinfo", "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    kinds = re.findall(r" type:(\w)", done.stderr)
    assert (len(kinds), kinds.count("I")) == (FRAMES, 1)


@pytest.mark.parametrize("encoder", EVERY, ids=by_name)
def test_bytes_do_not_depend_on_the_processors(
    encoder: AnchorEncoder,
    clip: Clip,
    stream_of: Callable[[AnchorEncoder], Path],
    tmp_path: Path,
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one processor")
    again = tmp_path / f"again.{encoder.muxer}"
    with one_processor():
        encode(clip.frames, clip.stream, encoder, coarse(encoder), again)
    assert again.read_bytes() == stream_of(encoder).read_bytes()


@pytest.mark.parametrize("encoder", LOW_DELAY, ids=by_name)
def test_the_low_delay_track_reorders_nothing(
    encoder: AnchorEncoder, stream_of: Callable[[AnchorEncoder], Path]
) -> None:
    assert is_in_display_order(stream_of(encoder))


@pytest.mark.parametrize("encoder", BY_MUXER.values(), ids=by_name)
def test_the_random_access_track_reorders(
    encoder: AnchorEncoder, stream_of: Callable[[AnchorEncoder], Path]
) -> None:
    assert not is_in_display_order(stream_of(encoder))


@pytest.mark.parametrize("encoder", BY_MUXER.values(), ids=by_name)
def test_nothing_is_in_a_stream_that_decodes_nothing(
    encoder: AnchorEncoder, stream_of: Callable[[AnchorEncoder], Path]
) -> None:
    report = headers(stream_of(encoder))
    assert not re.search(r"\] (Supplemental|Access Unit Delimiter|Metadata|Padding)", report)
    assert b"x264" not in stream_of(encoder).read_bytes()


@pytest.mark.parametrize("encoder", BY_MUXER.values(), ids=by_name)
def test_odd_sizes_are_encoded_and_scored_on_their_own_samples(
    encoder: AnchorEncoder, clip: Clip, tmp_path: Path
) -> None:
    frames = tuple(Frame(f.y[:71, :67], f.u[:36, :34], f.v[:36, :34]) for f in clip.frames[:3])
    odd = make_clip(clip.source, replace(clip.stream, width=67, height=71), frames)
    point = measure_anchor(odd, encoder, coarse(encoder) - 10, tmp_path)
    assert point.frames == 3
    assert 30 < point.quality.psnr_y_db < 45


def test_a_ten_bit_reconstruction_is_rounded_and_not_dithered(clip: Clip, tmp_path: Path) -> None:
    encoder = anchor_encoder("vvenc-faster", Track.RANDOM_ACCESS)
    stream = tmp_path / "s.vvc"
    encode(clip.frames, clip.stream, encoder, 30, stream)
    command = [ffmpeg_exe(), "-v", "error", "-i", str(stream), "-pix_fmt", "yuv420p10le"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
    ten = np.frombuffer(raw, np.uint16)[: clip.stream.width * clip.stream.height]
    first = next(iter(AnchorDecoding(stream, clip.stream).frames()))
    assert np.array_equal(first.y.ravel(), np.minimum(255, (ten + 2) // 4))


def test_costs_are_those_of_the_encoder_alone(clip: Clip, tmp_path: Path) -> None:
    ballast = bytearray(600 * 2**20)  # of this process, touched
    slow = measure_anchor(clip, anchor_encoder("vvenc-faster", Track.RANDOM_ACCESS), 36, tmp_path)
    fast = measure_anchor(clip, anchor_encoder("x264-medium", Track.RANDOM_ACCESS), 36, tmp_path)
    assert len(ballast) > max(slow.cost.peak_memory_bytes, fast.cost.peak_memory_bytes)
    assert fast.cost.peak_memory_bytes > 10 * 2**20
    assert slow.cost.encode_cpu_seconds > fast.cost.encode_cpu_seconds > 0
    assert slow.cost.decode_cpu_seconds > 0


@pytest.mark.parametrize("track", Track)
def test_another_anchor_covers_the_primary_ones_range_and_is_kept(
    track: Track, clip: Clip, tmp_path: Path
) -> None:
    encoder = anchor_encoder("x264-medium", track)
    primary = anchor_curve(clip, primary_encoder(track), tmp_path, jobs=2)
    assert not is_cached(clip, encoder, tmp_path, primary=primary)
    heard: list[AnchorEvent] = []
    curve = covering_curve(clip, encoder, primary, tmp_path, on_event=heard.append, jobs=2)
    assert quality_overlap(primary, curve) >= 0.8
    assert 4 <= len(curve.points) <= 6
    low, high = (curve.points[k].quality.psnr_y_db for k in (0, -1))
    assert low < operating_quality_db(primary, clip.stream) < high
    assert sum(event.point is None for event in heard) == len(curve.points)
    assert is_cached(clip, encoder, tmp_path, primary=primary)
    heard.clear()
    again = covering_curve(clip, encoder, primary, tmp_path, on_event=heard.append)
    assert (again, heard) == (curve, [])


def test_what_was_measured_before_a_stop_is_not_measured_again(clip: Clip, tmp_path: Path) -> None:
    encoder = anchor_encoder("x264-medium", Track.RANDOM_ACCESS)
    primary = anchor_curve(clip, X265_MEDIUM, tmp_path, jobs=2)

    class StoppedError(Exception):
        pass

    made: list[RatePoint] = []

    def stop_after_two(event: AnchorEvent) -> None:
        if event.point is not None:
            made.append(event.point)
        if len(made) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        covering_curve(clip, encoder, primary, tmp_path, on_event=stop_after_two)
    later: list[RatePoint] = []
    covering_curve(
        clip,
        encoder,
        primary,
        tmp_path,
        on_event=lambda event: later.append(event.point) if event.point else None,
    )
    assert later
    assert not {point.qp for point in made} & {point.qp for point in later}


def test_a_stop_ends_the_encoders_at_once(clip: Clip, tmp_path: Path) -> None:
    primary = anchor_curve(clip, X265_MEDIUM, tmp_path, jobs=2)
    long = make_clip(clip.source, clip.stream, tuple(clip.frames) * 12)
    scaled = replace(
        primary, points=tuple(replace(point, bits=point.bits * 12) for point in primary.points)
    )
    stop, events = threading.Event(), list[AnchorEvent]()

    def stop_soon(event: AnchorEvent) -> None:
        events.append(event)
        threading.Timer(0.2, stop.set).start()

    slow = anchor_encoder("vvenc-medium", Track.RANDOM_ACCESS)
    with pytest.raises(InfrastructureFailure, match="stopped while an anchor"):
        covering_curve(long, slow, scaled, tmp_path, jobs=2, on_event=stop_soon, stop=stop)
    assert {event.point for event in events} == {None}


def test_vmaf_is_added_to_a_curve_that_lacks_it(tmp_path: Path) -> None:
    city = load_clip(replace(default_clips()[1], frames=2, scale=(96, 64)))
    encoder = anchor_encoder("x264-medium", Track.RANDOM_ACCESS)
    primary = anchor_curve(city, X265_MEDIUM, tmp_path, jobs=2)
    without = covering_curve(city, encoder, primary, tmp_path, jobs=2)
    assert {point.quality.vmaf for point in without.points} == {None}
    assert not is_cached(city, encoder, tmp_path, primary=primary, vmaf=True)
    with_it = covering_curve(city, encoder, primary, tmp_path, vmaf=True, jobs=2)
    assert [p.qp for p in with_it.points] == [p.qp for p in without.points]
    assert all(point.quality.vmaf is not None for point in with_it.points)
    assert is_cached(city, encoder, tmp_path, primary=primary, vmaf=True)
