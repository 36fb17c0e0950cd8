"""Intra codec in the per-frame form: two functions, RGB in, RGB out, no memory between frames.

YCoCg-R colour with halved chroma, 8 x 8 DCT, uniform quantiser, adaptive binary range coding by
frequency over all blocks at once. The decoder uses integer arithmetic, and float64 sums of
integers that are exact in any order, so it is bit-exact on any machine.
"""

import math

import constriction
import numpy as np

DEAD_ZONE = 0.36  # evolve: float 0.20..0.50 -- rounding offset of the quantiser
CHROMA_QP = 3  # evolve: int 0..6 -- QP offset of both chroma planes
COUNT_LIMIT = 200  # evolve: int 30..1000 -- memory of the adaptive models, in symbols
CLASSES = 10  # evolve: int 2..14 -- activity classes of the zero flag
UNARY = 14  # evolve: int 3..20 -- level size at which Exp-Golomb codes take over

ONE = 1 << 16
BERNOULLI = constriction.stream.model.Bernoulli(perfect=False)
ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8))
BASIS = np.array(
    [
        [
            round(1024 * math.cos((2 * x + 1) * k * math.pi / 16) * math.sqrt((2 if k else 1) / 8))
            for x in range(8)
        ]
        for k in range(8)
    ],
    dtype=np.float64,
)


class Coder:
    """Range coder for both directions: bits in when encoding, None when decoding."""

    def __init__(self, data: bytes | None = None) -> None:
        self.counts: dict[object, list[int]] = {}
        self.bits: list[np.ndarray] = []
        self.probs: list[np.ndarray] = []
        self.decoder = None
        if data is not None:
            words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
            self.decoder = constriction.stream.queue.RangeDecoder(words)

    def code(self, key: object, bits: np.ndarray | None, count: int) -> np.ndarray:
        """Code ``count`` bits that share one adaptive model."""
        ones, total = self.counts.setdefault(key, [1, 2])
        probs = np.full(count, min(65000, max(500, ones * ONE // total)) / ONE)
        if self.decoder is None:
            self.bits.append(bits)
            self.probs.append(probs)
        else:
            bits = self.decoder.decode(BERNOULLI, probs)
        ones, total = ones + int(np.count_nonzero(bits)), total + count
        if total > COUNT_LIMIT:
            ones, total = max(1, ones * COUNT_LIMIT // total), COUNT_LIMIT
        self.counts[key] = [ones, max(total, ones + 1)]
        return bits

    def finish(self) -> bytes:
        """The coded bytes."""
        encoder = constriction.stream.queue.RangeEncoder()
        bits = np.concatenate(self.bits).astype(np.int32)
        encoder.encode(bits, BERNOULLI, np.concatenate(self.probs))
        return encoder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")


def code_values(coder: Coder, name: object, values: np.ndarray | None, count: int) -> np.ndarray:
    """Signed integers: unary size with one model a step, Exp-Golomb rest, plain sign."""
    known = values is not None
    size = np.abs(values) if known else None
    out = np.zeros(count, np.int64)
    todo = np.arange(count)
    for step in range(UNARY):
        bits = coder.code((name, step), size[todo] > step if known else None, len(todo))
        todo = todo[np.flatnonzero(bits)]
        out[todo] += 1
        if not len(todo):
            break
    order, low = 0, todo
    while len(low):
        rest = size[low] - UNARY + 1 if known else None
        bits = coder.code(
            (name, "order", order), rest >> (order + 1) > 0 if known else None, len(low)
        )
        stop = low[np.flatnonzero(bits == 0)]
        rest = size[stop] - UNARY + 1 if known else None
        extra = np.zeros(len(stop), np.int64)
        for i in range(order):
            raw = coder.code((name, "raw", i), rest >> i & 1 if known else None, len(stop))
            extra += raw.astype(np.int64) << i
        out[stop] = UNARY - 1 + (1 << order) + extra
        low, order = low[np.flatnonzero(bits)], order + 1
    signed = np.flatnonzero(out)
    bits = coder.code((name, "sign"), values[signed] < 0 if known else None, len(signed))
    out[signed] *= np.where(bits, -1, 1)
    return out


def code_plane(coder: Coder, kind: int, levels: np.ndarray | None, shape: tuple) -> np.ndarray:
    """(rows, cols, 64) levels: DC as differences, the rest by frequency and local activity."""
    rows, cols = shape
    out = np.zeros((rows, cols, 64), np.int64)
    differences = None
    if levels is not None:
        differences = np.diff(levels[..., 0], axis=1, prepend=0)
        differences[:, 0] = np.diff(levels[:, 0, 0], prepend=0)
        differences = differences.reshape(-1)
    differences = code_values(coder, (kind, "dc"), differences, rows * cols).reshape(rows, cols)
    differences[:, 0] = np.cumsum(differences[:, 0])
    out[..., 0] = np.cumsum(differences, axis=1)
    activity = np.zeros((rows + 2, cols + 2), np.int64)
    for k in ZIGZAG[1:]:
        own = activity[1:-1, 1:-1]
        near = activity[:-2, 1:-1] + activity[2:, 1:-1] + activity[1:-1, :-2] + activity[1:-1, 2:]
        quarter = (2 * own + near) // 8
        classes = np.minimum(np.where(quarter < 6, quarter, 6 + quarter // 8), CLASSES - 1)
        band = min(k // 8 + k % 8, 7)
        for which in range(CLASSES):
            at = np.nonzero(classes == which)
            if len(at[0]):
                values = None if levels is None else levels[..., k][at]
                out[..., k][at] = code_values(coder, (kind, band, which), values, len(at[0]))
        own += 8 * np.minimum(np.abs(out[..., k]), 4) - own // 8
    return out


def step_of(qp: float) -> int:
    """Quantiser step in 1/16 sample: doubles every 6 QP."""
    return max(8, round(16 * 2 ** ((qp - 4) / 6)))


def planes_of(frame: np.ndarray) -> list[np.ndarray]:
    """YCoCg-R planes, chroma at half size, each padded to whole blocks."""
    r, g, b = (frame[..., i].astype(np.int64) for i in range(3))
    co = r - b
    t = b + (co >> 1)
    cg = g - t
    halves = []
    for plane in (co, cg):
        even = np.pad(plane, [(0, s % 2) for s in plane.shape], mode="edge")
        halves.append(
            (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2] + 2) >> 2
        )
    planes = [t + (cg >> 1), *halves]
    return [np.pad(p, [(0, -s % 8) for s in p.shape], mode="edge") for p in planes]


def compress_video_frame(frame: np.ndarray, frame_index: int, config: dict) -> bytes:
    """Code one (H, W, 3) uint8 RGB frame; ``config["qp"]`` sets the quality."""
    coder = Coder()
    qp8 = round(8 * min(63.0, max(0.0, float(config["qp"]))))
    for i in range(9):
        coder.code("header", np.array([qp8 >> i & 1]), 1)
    for kind, plane in enumerate(planes_of(frame)):
        step = step_of(qp8 / 8 + (CHROMA_QP if kind else 0))
        rows, cols = plane.shape[0] // 8, plane.shape[1] // 8
        blocks = plane.reshape(rows, 8, cols, 8).swapaxes(1, 2) - (0 if kind else 128)
        scaled = (BASIS @ blocks.astype(np.float64) @ BASIS.T) / (65536.0 * step)
        levels = np.sign(scaled) * np.floor(np.abs(scaled) + DEAD_ZONE)
        code_plane(
            coder, min(kind, 1), levels.astype(np.int64).reshape(rows, cols, 64), (rows, cols)
        )
    return coder.finish()


def decompress_video_frame(data: bytes, frame_index: int, config: dict) -> np.ndarray:
    """Decode one frame to (H, W, 3) uint8 RGB."""
    height, width = int(config["height"]), int(config["width"])
    coder, planes = Coder(data), []
    qp8 = sum(int(coder.code("header", None, 1)[0]) << i for i in range(9))
    for kind in range(3):
        step = step_of(qp8 / 8 + (CHROMA_QP if kind else 0))
        h, w = (height, width) if kind == 0 else ((height + 1) // 2, (width + 1) // 2)
        rows, cols = -(-h // 8), -(-w // 8)
        levels = code_plane(coder, min(kind, 1), None, (rows, cols)).reshape(rows, cols, 8, 8)
        blocks = np.floor(BASIS.T @ (levels * float(step)) @ BASIS * 2.0**-24 + 0.5)
        plane = blocks.swapaxes(1, 2).reshape(rows * 8, cols * 8).astype(np.int64)[:h, :w]
        planes.append(plane if kind else plane + 128)
    y, co, cg = planes[0], *(p.repeat(2, 0).repeat(2, 1)[:height, :width] for p in planes[1:])
    t = y - (cg >> 1)
    b = t - (co >> 1)
    return np.clip(np.stack([b + co, cg + t, b], -1), 0, 255).astype(np.uint8)
