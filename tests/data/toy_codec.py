"""A codec small enough to read at a glance and quick enough for tests: quantise, predict, code."""

from collections.abc import Iterator

import constriction
import numpy as np

from evocodec.codec.contract import Frame, StreamInfo

PREDICTION = "none"  # evolve: choice "none" | "left" | "previous" -- predictor
STEP_SCALE = 1.0  # evolve: float 0.5..2.0 -- quantiser step relative to the default

REACH = 300


def step_of(qp: float) -> float:
    return max(1.0, STEP_SCALE * 2.0 ** (qp / 9.0))


def predict(levels: np.ndarray, before: np.ndarray) -> np.ndarray:
    if PREDICTION == "left":
        shifted = np.zeros_like(levels)
        shifted[:, 1:] = levels[:, :-1]
        return shifted
    if PREDICTION == "previous":
        return before
    return np.full_like(levels, int(before.max() * 0))


def encode(frames: Iterator[Frame], stream: StreamInfo, qp: float) -> Iterator[bytes]:
    step = step_of(qp)
    yield np.float64(step).tobytes()
    before = [np.zeros_like(plane, dtype=np.int32) for plane in blank(stream)]
    for frame in frames:
        packet = b""
        for index, plane in enumerate(frame):
            levels = np.floor(plane / step + 0.5).astype(np.int32)
            residual = levels - predict(levels, before[index])
            scale = max(1, min(255, int(np.ceil(8 * np.abs(residual).mean()))))
            coder = constriction.stream.queue.RangeEncoder()
            model = constriction.stream.model.QuantizedLaplace(-REACH, REACH, 0.0, scale / 8)
            coder.encode(residual.ravel(), model)
            words = coder.get_compressed().tobytes()
            packet += bytes([scale]) + len(words).to_bytes(4, "big") + words
            before[index] = levels
        yield packet


def decode(packets: Iterator[bytes], stream: StreamInfo) -> Iterator[Frame]:
    step = float(np.frombuffer(next(packets), dtype=np.float64)[0])
    before = [np.zeros_like(plane, dtype=np.int32) for plane in blank(stream)]
    for packet in packets:
        planes, rest = [], packet
        for index, empty in enumerate(blank(stream)):
            scale, size = rest[0], int.from_bytes(rest[1:5], "big")
            words = np.frombuffer(rest[5 : 5 + size], dtype=np.uint32)
            rest = rest[5 + size :]
            coder = constriction.stream.queue.RangeDecoder(words)
            model = constriction.stream.model.QuantizedLaplace(-REACH, REACH, 0.0, scale / 8)
            residual = np.asarray(coder.decode(model, empty.size)).reshape(empty.shape)
            if PREDICTION == "left":
                levels = np.cumsum(residual, axis=1)
            else:
                levels = residual + predict(residual, before[index])
            before[index] = levels
            planes.append(np.clip(np.floor(levels * step + 0.5), 0, 255).astype(np.uint8))
        yield Frame(*planes)


def blank(stream: StreamInfo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    luma = np.zeros((stream.height, stream.width), dtype=np.uint8)
    chroma = np.zeros((stream.chroma_height, stream.chroma_width), dtype=np.uint8)
    return luma, chroma, chroma
