"""Ordinary lines of honest programs; the static gate must let each of them pass."""

from __future__ import annotations

import abc
import array
import bisect
import collections
import collections.abc
import contextlib
import copy
import dataclasses
import enum
import fractions
import functools
import heapq
import io
import itertools
import lzma
import math
import operator
import random
import statistics
import string
import struct
import typing
import zlib
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from functools import lru_cache, partial, reduce, wraps
from itertools import chain, product
from typing import TYPE_CHECKING, Any, Callable, Iterator, Literal, NamedTuple, Optional

import constriction
import cv2
import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.linalg as sla
from numba import int32, njit, prange, vectorize
from numpy.lib.stride_tricks import sliding_window_view
from numpy.polynomial import Polynomial
from scipy import ndimage, optimize, signal, sparse, special, stats
from scipy.interpolate import RegularGridInterpolator, interp1d
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError:
    torch = None

if TYPE_CHECKING:
    from evocodec.codec.contract import Frame, StreamInfo

HAVE_TORCH = torch is not None
FFT = scipy.fft
SQRT = np.sqrt
BLOCK = 16  # evolve: choice 8 | 16 | 32
MODES: dict[str, int] = {"dc": 0, "planar": 1}
TABLE = np.array([[1, 2], [3, 4]], dtype=np.int32)
ZIGZAG = sorted(product(range(8), repeat=2), key=lambda p: (p[0] + p[1], p[0]))
Pair = namedtuple("Pair", ["x", "y"])


class Kind(enum.IntEnum):
    SKIP = 0
    INTER = enum.auto()


class Vector(NamedTuple):
    dy: int
    dx: int = 0


@dataclass(slots=True, frozen=True)
class Block:
    y: int
    x: int = 0
    mode: Literal["4:2:0", "dc"] = "dc"
    coefficients: list[int] = field(default_factory=list)
    parent: Optional["Block"] = None

    def __post_init__(self) -> None:
        assert type(self.y) is int, f"y is {type(self.y).__name__}"


@dataclasses.dataclass(order=True)
class Node:
    weight: int
    symbol: int = dataclasses.field(compare=False, default=0)
    _cost: float = 0.0


class Coder(abc.ABC):
    """Has its own load, save and register, which are ordinary names."""

    __slots__ = ("_low", "_range", "bits")

    def __init__(self, input: bytes = b"", *, format: str = "raw"):
        self._low, self._range = 0, 0xFFFFFFFF
        self.bits = input

    @abc.abstractmethod
    def encode_bit(self, bit: int, context: "Context") -> None: ...

    @property
    def low(self) -> int:
        return self._low & 0xFFFFFFFF

    @staticmethod
    def register(name: str) -> str:
        return name.upper()

    @classmethod
    def load(cls, data: bytes) -> "Coder":
        return cls(data)

    def save(self) -> bytes:
        return struct.pack("<IB", self._low, 1) + self.load(b"").bits

    def clone(self):
        return type(self)(self.bits)

    def __repr__(self) -> str:
        return "{}({:08x}, {name!r})".format(type(self).__name__, self._low, name="x")


class Context:
    def __init__(self):
        self.p = [1 << 15] * 4
        self.history = deque(maxlen=8)

    def __getitem__(self, index):
        return self.p[index]


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


@lru_cache(maxsize=None)
def basis(size: int) -> npt.NDArray[np.float64]:
    k, n = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    m = np.sqrt(2 / size) * np.cos(np.pi * (2 * n + 1) * k / (2 * size))
    m[0] /= np.sqrt(2)
    return m


@njit(cache=False, nogil=True, fastmath=True)
def sad(a, b):
    total = 0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            total += abs(int(a[i, j]) - int(b[i, j]))
    return total


@njit("int64(int32[:, ::1], int64)", parallel=True)
def energy(a, n):
    total = 0
    for i in prange(n):
        total += a[i, 0] * a[i, 0]
    return total


@vectorize(["float32(float32)", "float64(float64)"], nopython=True)
def soft(x):
    return x - 1 if x > 1 else 0


fast_sad = njit(sad)
typed_one = njit(int32(int32[:], int32))


@timed
def numpy_idioms(y: np.ndarray, rng: np.random.Generator | None = None):
    rng = rng or np.random.default_rng(0)
    blocks = y.reshape(y.shape[0] // 8, 8, y.shape[1] // 8, 8).swapaxes(1, 2)
    windows = sliding_window_view(y, (8, 8))[::4, ::4]
    coefficients = np.einsum("ij,abjk,lk->abil", basis(8), blocks - 128.0, basis(8), optimize=True)
    levels = np.clip(np.rint(coefficients / 7), -(2**15), 2**15 - 1).astype(np.int16)
    values, counts = np.unique(levels, return_counts=True)
    entropy = -np.sum(counts / counts.sum() * np.log2(counts / counts.sum()))
    packed = np.packbits(levels.ravel() != 0, bitorder="little").tobytes()
    back = np.frombuffer(packed, dtype=np.uint8).copy()
    padded = np.pad(y, ((0, -y.shape[0] % 8), (0, 0)), mode="edge")
    cumulative = np.add.accumulate(counts) + np.maximum.reduce(values) + np.iinfo(np.int16).max
    with np.errstate(divide="ignore"):
        ratio = np.where(counts > 0, 1 / counts, 0.0)
    q, r = np.linalg.qr(rng.normal(size=(4, 4)))
    return windows, entropy, back, padded, cumulative, ratio, q @ r, Polynomial([1, 2])(3)


def cv2_idioms(y, previous):
    up = cv2.resize(y, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(previous, y, None)
    flow2 = cv2.calcOpticalFlowFarneback(previous, y, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    mapped = cv2.remap(
        y, flow[..., 0], flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    smooth = cv2.GaussianBlur(y, (5, 5), 1.1) + cv2.bilateralFilter(y, 5, 10, 10)
    edges = cv2.Canny(y, 50, 100) | cv2.morphologyEx(y, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, best, _, where = cv2.minMaxLoc(cv2.matchTemplate(up, y, cv2.TM_CCOEFF_NORMED))
    matrix, inliers = cv2.estimateAffinePartial2D(flow, flow2, method=cv2.RANSAC)
    cv2.setNumThreads(1)
    clahe = cv2.createCLAHE(2.0, (8, 8)).apply(y)
    yuv = cv2.cvtColor(cv2.merge([y, y, y]), cv2.COLOR_BGR2YUV_I420)
    return cv2.warpAffine(y, matrix, y.shape[::-1]), cv2.dct(np.float32(y)), clahe, yuv, best, edges


def scipy_idioms(x):
    spectrum = FFT.dctn(x, type=2, norm="ortho") + scipy.fft.rfft2(x).real.sum()
    smooth = gaussian_filter(x, 1.0) + ndimage.median_filter(x, 3) + signal.convolve2d(x, x, "same")
    found = optimize.minimize_scalar(lambda t: (t - 1) ** 2, bounds=(0, 2), method="bounded")
    line = interp1d([0, 1], [1, 2])(0.5), RegularGridInterpolator(([0, 1],), [0, 1])([0.5])
    tree = cKDTree(x).query(x[:1]), sla.solve_toeplitz([2, 1], [1, 1]), special.erf(0.5)
    return spectrum, smooth, found.x, line, tree, stats.norm.cdf(0), sparse.eye(3), map_coordinates


def entropy_idioms(levels):
    model = constriction.stream.model.QuantizedGaussian(-50, 50)
    coder = constriction.stream.queue.RangeEncoder()
    coder.encode(np.asarray(levels, np.int32), model, np.zeros(3), np.ones(3))
    words = coder.get_compressed().tobytes()
    packed = zlib.compress(words, 9) + lzma.compress(
        words, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}]
    )
    out = io.BytesIO()
    out.write(struct.pack("<HHf", 1, 2, 3.0))
    out.seek(0)
    heap = [(count, symbol) for symbol, count in Counter(levels).items()]
    heapq.heapify(heap)
    heapq.heappush(heap, (1, 2))
    low = bisect.bisect_right([1, 2, 3], 2) + reduce(operator.xor, [1, 2], 0) + math.comb(4, 2)
    ids = array.array("H", [1, 2]).tobytes() + int(low).to_bytes(4, "big") + bytes(out.read())
    mean = statistics.fmean([1, 2]) + float(fractions.Fraction(1, 3)) + random.Random(3).random()
    by_size = defaultdict(list, {1: [2]}) or OrderedDict() or collections.ChainMap({})
    groups = [list(g) for _, g in itertools.groupby(levels)] + list(chain.from_iterable([[1]]))
    deep = copy.deepcopy(by_size), string.ascii_letters, memoryview(packed)[2:4].hex()
    return ids, mean, groups, deep, sorted(levels, key=operator.itemgetter(0))


def control_idioms(event, value):
    match event:
        case {"kind": "skip", **rest}:
            return rest
        case Vector(dy, dx) if dy > dx:
            return dy
        case Block(y=y, x=0):
            return y
        case [first, *_] | (first,):
            return first
        case int(number) | float(number):
            return number
        case None:
            pass
    if isinstance(value, (list, tuple)) and (n := len(value)) > 3:
        print(f"{n=} {value!r:>10} {type(value)}", "%s %d" % (value, n))
    with contextlib.suppress(ValueError), contextlib.ExitStack() as stack:
        stack.callback(print)
    for key in sorted(getattr(value, "names", ())):
        setattr(value, "last", key)
    try:
        return Pair(1, 2)._replace(x=3)._asdict()
    except (KeyError, ValueError) as error:
        raise RuntimeError("bad stream: {0}".format(error)) from error
    finally:
        del value


if HAVE_TORCH:

    class Net(nn.Module):
        def __init__(self, width: int = 32) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(inplace=True))
            self.gains = nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(3)])
            self.register_buffer("grid", torch.zeros(1))

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            x = F.pad(self.layers(input), (1, 1, 1, 1), mode="reflect")
            return F.grid_sample(x, self.grid, align_corners=False) + torch.sigmoid(x).mean()

    def train(net, data, device=torch.device("cpu")):
        torch.manual_seed(0)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        for batch in data:
            optimizer.zero_grad()
            loss = F.mse_loss(net(batch.to(device)), batch) + torch.nn.functional.l1_loss(
                batch, batch
            )
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        net.eval()
        with torch.no_grad(), torch.inference_mode():
            y = net(torch.from_numpy(np.zeros((1, 1, 8, 8), np.float32))).clamp(0, 255).round()
        net.load_state_dict(net.state_dict())
        cuda = torch.cuda.is_available() and torch.cuda.synchronize()
        return y.cpu().numpy().astype(np.uint8), sum(p.numel() for p in net.parameters()), cuda


def encode(frames: Iterator[Frame], stream: StreamInfo, qp: float) -> Iterator[bytes]:
    step = partial(math.ldexp, 1.0)
    for index, frame in enumerate(frames):
        yield (
            struct.pack("<I", index)
            + np.ascontiguousarray(frame.y).tobytes()
            + bytes([int(step(0))])
        )


def decode(packets: Iterator[bytes], stream: StreamInfo) -> Iterator[Frame]:
    for packet in packets:
        y = np.frombuffer(packet, np.uint8, stream.width * stream.height, 4)
        yield y.reshape(stream.height, stream.width), y, y
