"""Both forms of a candidate, and the exact colour conversion of the per-frame one."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from evocodec.codec.adapter import adapt, rgb_to_yuv420, yuv420_to_rgb
from evocodec.codec.contract import Frame, StreamInfo

BARE = StreamInfo(35, 21, Fraction(30000, 1001), 3)


def gradient_frame(stream: StreamInfo, seed: int = 0) -> Frame:
    """In-gamut content: a luma ramp with mild chroma."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, stream.width * stream.height).reshape(stream.height, stream.width)
    chroma = (stream.chroma_height, stream.chroma_width)
    return Frame(
        ramp.astype(np.uint8),
        rng.integers(118, 138, chroma, dtype=np.uint8),
        rng.integers(118, 138, chroma, dtype=np.uint8),
    )


def compress(frame: Any, frame_index: int, config: dict[str, Any]) -> bytes:
    return bytes(frame.tobytes())


def decompress(data: bytes, frame_index: int, config: dict[str, Any]) -> Any:
    return np.frombuffer(data, np.uint8).reshape(config["height"], config["width"], 3)


def round_trip(
    compressor: Callable[..., Any], decompressor: Callable[..., Any], qp: float = 30.0
) -> list[Frame]:
    namespace = {"compress_video_frame": compressor, "decompress_video_frame": decompressor}
    encode, decode = adapt(namespace)
    frames = [gradient_frame(BARE, seed) for seed in range(BARE.frame_count)]
    return list(decode(iter(list(encode(iter(frames), BARE, qp))), BARE))


def test_the_generator_form_is_taken_as_it_is() -> None:
    def encode(frames: Iterator[Frame], stream: StreamInfo, qp: float) -> Iterator[bytes]:
        yield b""

    def decode(packets: Iterator[bytes], stream: StreamInfo) -> Iterator[Frame]:
        yield gradient_frame(stream)

    namespace = {"encode": encode, "decode": decode, "compress_video_frame": compress}
    assert adapt(namespace) == (encode, decode)


def test_the_per_frame_form_round_trips_an_odd_size_within_one_step() -> None:
    every = list(enumerate(round_trip(compress, decompress)))
    assert every
    for seed, decoded in every:
        original = gradient_frame(BARE, seed)
        for plane, wanted in zip(decoded, original, strict=True):
            assert plane.dtype == np.uint8
            assert plane.shape == wanted.shape
            assert np.abs(plane.astype(int) - wanted).max() <= 1


def test_both_sides_see_the_same_config() -> None:
    seen: list[tuple[int, dict[str, Any]]] = []

    def spy_compress(frame: Any, frame_index: int, config: dict[str, Any]) -> bytes:
        seen.append((frame_index, config))
        return compress(frame, frame_index, config)

    def spy_decompress(data: bytes, frame_index: int, config: dict[str, Any]) -> Any:
        seen.append((frame_index, config))
        return decompress(data, frame_index, config)

    round_trip(spy_compress, spy_decompress, qp=27.3)
    assert seen[:3] == seen[3:]
    assert [index for index, _ in seen[:3]] == [0, 1, 2]
    assert seen[0][1] == {
        "qp": pytest.approx(27.3, abs=1 / 512),
        "width": 35,
        "height": 21,
        "fps": pytest.approx(29.97, abs=0.001),
        "frame_count": 3,
    }


def test_a_config_changed_by_the_program_does_not_leak_into_the_next_frame() -> None:
    def greedy(frame: Any, frame_index: int, config: dict[str, Any]) -> bytes:
        assert "memory" not in config
        config["memory"] = frame
        return compress(frame, frame_index, config)

    assert len(round_trip(greedy, decompress)) == 3


@pytest.mark.parametrize(
    ("namespace", "missing"),
    [
        ({}, "defines no codec"),
        ({"encode": len}, "does not define decode"),
        ({"decode": len}, "does not define encode"),
        ({"compress_video_frame": len}, "does not define decompress_video_frame"),
        ({"decompress_video_frame": len}, "does not define compress_video_frame"),
        ({"encode": 3, "decode": len}, "encode must be a function, but it is int"),
    ],
)
def test_what_is_missing_is_named(namespace: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        adapt(namespace)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros((21, 35, 3), np.uint8), "returned a uint8 array.*frame 0.*must return bytes"),
        ("text", "returned a str"),
        (None, "returned None"),
    ],
)
def test_a_compressor_that_returns_no_bytes_is_told_so(result: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        round_trip(lambda frame, frame_index, config: result, decompress)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros((21, 35, 3), np.float64), r"returned a float64 array.*astype\(np.uint8\)"),
        (np.zeros((35, 21, 3), np.uint8), r"shape \(35, 21, 3\).*shape \(21, 35, 3\)"),
        (np.zeros((21, 35), np.uint8), r"shape \(21, 35\) for"),
        (b"raw", "returned a bytes"),
    ],
)
def test_a_decompressor_with_a_wrong_shape_or_dtype_is_told_so(
    result: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        round_trip(compress, lambda data, frame_index, config: result)


@pytest.mark.parametrize("packets", [[], [b""], [b"abc"]])
def test_a_stream_without_its_qp_packet_is_refused(packets: list[bytes]) -> None:
    namespace = {"compress_video_frame": compress, "decompress_video_frame": decompress}
    _, decode = adapt(namespace)
    with pytest.raises(ValueError, match="packet of 2 bytes"):
        list(decode(iter(packets), BARE))


def solid(y: int, u: int, v: int) -> Frame:
    return Frame(
        np.full((2, 2), y, np.uint8), np.full((1, 1), u, np.uint8), np.full((1, 1), v, np.uint8)
    )


@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((63, 102, 240), (255, 1, 0)),  # BT.709 red, 100 %
        ((173, 42, 26), (0, 255, 1)),
        ((32, 240, 118), (1, 0, 255)),
    ],
)
def test_reference_colours_of_bt_709(yuv: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    converted = yuv420_to_rgb(solid(*yuv))[0, 0].astype(int)
    assert np.abs(converted - np.array(rgb)).max() <= 1
    back = rgb_to_yuv420(np.full((2, 2, 3), rgb, np.uint8))
    assert np.abs(np.array([p[0, 0] for p in back], int) - np.array(yuv)).max() <= 1


def test_conversion_equals_the_formula_in_floating_point_within_rounding() -> None:
    rng = np.random.default_rng(7)
    rgb = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    scaled = rgb.astype(float) / 255
    luma = scaled @ [0.2126, 0.7152, 0.0722]
    u_full = 128 + 224 * (scaled[..., 2] - luma) / 1.8556
    v_full = 128 + 224 * (scaled[..., 0] - luma) / 1.5748
    got = rgb_to_yuv420(rgb)
    assert np.abs(got.y - (16 + 219 * luma)).max() <= 0.51
    for plane, full in ((got.u, u_full), (got.v, v_full)):
        mean = full.reshape(8, 2, 8, 2).mean(axis=(1, 3))
        assert np.abs(plane - mean).max() <= 0.51


def test_every_grey_stays_grey() -> None:
    greys = np.arange(16, 236, dtype=np.uint8).reshape(20, 11)
    neutral = np.full((10, 6), 128, np.uint8)
    rgb = yuv420_to_rgb(Frame(greys, neutral, neutral))
    assert np.array_equal(rgb[..., 0], rgb[..., 1])
    assert np.array_equal(rgb[..., 1], rgb[..., 2])
    back = rgb_to_yuv420(rgb)
    assert np.array_equal(back.y, greys)
    assert np.array_equal(back.u, neutral)
