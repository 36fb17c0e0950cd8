"""Candidate adapter: accepts two generator functions, or one function per frame.

The per-frame form knows neither streams nor 4:2:0::

    def compress_video_frame(frame, frame_index, config) -> bytes: ...
    def decompress_video_frame(data, frame_index, config) -> frame: ...

``frame`` is uint8 RGB of shape (height, width, 3); ``config`` is a new dict each time, with ``qp``
(float, the same for both), ``width``, ``height``, ``fps`` (float) and ``frame_count``.

Colour conversion is BT.709 limited range (ITU-R BT.709-6, clause 3; 8-bit quantisation of item
3.5) in 32-bit integers with 16 fractional bits, rounded half up, so that every machine gets the
same bytes. Chroma is repeated to 2×2 on the way to RGB and averaged over 2×2 on the way back, which
undo each other. The detour costs a rounding error: it limits a lossless codec to about 50 dB.

The wrapped bitstream is one packet of 2 bytes (qp in 1/256, big-endian, because a decoder is not
told it), then one packet a frame.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from evocodec.codec.contract import Frame, Plane, StreamInfo

EncodeFunction: TypeAlias = Callable[[Iterator[Frame], StreamInfo, float], Iterator[bytes]]
DecodeFunction: TypeAlias = Callable[[Iterator[bytes], StreamInfo], Iterator[Frame]]
Rgb: TypeAlias = npt.NDArray[np.uint8]

_QP_STEPS = 256
_ONE_HALF = 1 << 15
_SHIFT = 16

# Rows of the matrices, times 65536. Chroma rows sum to 0, so that grey stays exactly grey.
_TO_Y = (11966, 40254, 4064)
_TO_U = (-6596, -22189, 28785)
_TO_V = (28784, -26145, -2639)
_FROM_Y = 76309
_R_FROM_V = 117489
_G_FROM_U = -13975
_G_FROM_V = -34925
_B_FROM_U = 138438


def adapt(namespace: Mapping[str, Any]) -> tuple[EncodeFunction, DecodeFunction]:
    """Return a program's two functions from its namespace; wraps the per-frame form.

    The generator form wins where both are defined. Raises ValueError that names what is missing.
    """
    if "encode" in namespace or "decode" in namespace:
        return _function(namespace, "encode"), _function(namespace, "decode")
    if "compress_video_frame" in namespace or "decompress_video_frame" in namespace:
        return _wrap_per_frame(
            _function(namespace, "compress_video_frame"),
            _function(namespace, "decompress_video_frame"),
        )
    raise ValueError(
        "the program defines no codec: it needs encode(frames, stream, qp) and "
        "decode(packets, stream), or compress_video_frame(frame, frame_index, config) and "
        "decompress_video_frame(data, frame_index, config)"
    )


def yuv420_to_rgb(frame: Frame) -> Rgb:
    """Convert planes to uint8 RGB of shape (height, width, 3); colours outside RGB are clipped."""
    height, width = frame.y.shape
    luma = (frame.y.astype(np.int32) - 16) * _FROM_Y + _ONE_HALF
    u = _repeat(frame.u, height, width)
    v = _repeat(frame.v, height, width)
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[..., 0] = _to_bytes(luma + _R_FROM_V * v)
    rgb[..., 1] = _to_bytes(luma + _G_FROM_U * u + _G_FROM_V * v)
    rgb[..., 2] = _to_bytes(luma + _B_FROM_U * u)
    return rgb


def rgb_to_yuv420(rgb: Rgb) -> Frame:
    """Convert uint8 RGB of shape (height, width, 3) to planes; odd edges are repeated."""
    wide = rgb.astype(np.int32)
    y = _to_bytes(_dot(wide, _TO_Y) + (16 << _SHIFT) + _ONE_HALF)
    height, width = rgb.shape[:2]
    even = np.pad(wide, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    sums = even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]
    # Four samples are summed, so two more fractional bits.
    offset = (128 << (_SHIFT + 2)) + (_ONE_HALF << 2)
    u = _to_bytes((_dot(sums, _TO_U) + offset) >> 2)
    v = _to_bytes((_dot(sums, _TO_V) + offset) >> 2)
    return Frame(y, u, v)


def _function(namespace: Mapping[str, Any], name: str) -> Callable[..., Any]:
    found = namespace.get(name)
    if found is None:
        raise ValueError(f"the program does not define {name}, which the other half needs")
    if not callable(found):
        raise ValueError(f"{name} must be a function, but it is {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def _wrap_per_frame(
    compress: Callable[..., Any], decompress: Callable[..., Any]
) -> tuple[EncodeFunction, DecodeFunction]:
    def encode(frames: Iterator[Frame], stream: StreamInfo, qp: float) -> Iterator[bytes]:
        steps = round(qp * _QP_STEPS)
        yield steps.to_bytes(2, "big")
        for index, frame in enumerate(frames):
            config = _config(stream, steps)
            yield _checked_bytes(compress(yuv420_to_rgb(Frame(*frame)), index, config), index)

    def decode(packets: Iterator[bytes], stream: StreamInfo) -> Iterator[Frame]:
        steps = _read_qp(next(packets, None))
        for index, packet in enumerate(packets):
            config = _config(stream, steps)
            rgb = _checked_rgb(decompress(packet, index, config), index, stream)
            yield rgb_to_yuv420(rgb)

    return encode, decode


def _config(stream: StreamInfo, qp_steps: int) -> dict[str, float | int]:
    return {
        "qp": qp_steps / _QP_STEPS,
        "width": stream.width,
        "height": stream.height,
        "fps": float(stream.fps),
        "frame_count": stream.frame_count,
    }


def _read_qp(packet: bytes | None) -> int:
    if packet is None or len(packet) != 2:
        got = "no packet" if packet is None else f"{len(packet)} bytes"
        raise ValueError(f"a per-frame stream starts with a packet of 2 bytes (qp), not {got}")
    return int.from_bytes(packet, "big")


def _checked_bytes(result: object, index: int) -> bytes:
    if isinstance(result, bytes | bytearray | memoryview):
        return bytes(result)
    raise ValueError(
        f"compress_video_frame returned {_describe(result)} for frame {index}; it must return bytes"
    )


def _checked_rgb(result: object, index: int, stream: StreamInfo) -> Rgb:
    wanted = (stream.height, stream.width, 3)
    if isinstance(result, np.ndarray) and result.dtype == np.uint8 and result.shape == wanted:
        rgb: Rgb = result
        return rgb
    raise ValueError(
        f"decompress_video_frame returned {_describe(result)} for frame {index}; it must return "
        f"a uint8 array of shape {wanted} (height, width, RGB). For other dtypes, end with "
        "np.clip(frame, 0, 255).astype(np.uint8)"
    )


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"


def _repeat(plane: Plane, height: int, width: int) -> npt.NDArray[np.int32]:
    centred = plane.astype(np.int32) - 128
    return centred.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]


def _dot(rgb: npt.NDArray[np.int32], row: tuple[int, int, int]) -> npt.NDArray[np.int32]:
    red, green, blue = row
    total: npt.NDArray[np.int32] = rgb[..., 0] * red + rgb[..., 1] * green + rgb[..., 2] * blue
    return total


def _to_bytes(scaled: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    clipped: npt.NDArray[np.int32] = np.clip(scaled >> _SHIFT, 0, 255)
    return clipped.astype(np.uint8)
