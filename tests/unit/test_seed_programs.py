"""The seed codecs: whole pictures come back, sizes and quality follow qp, marks offer a search."""

import ast
import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from evocodec.codec import seeds as programs
from evocodec.codec.contract import Frame, StreamInfo
from evocodec.codec.program import Program
from evocodec.sandbox.policy import DEFAULT_IMPORTS

PROGRAMS = Path(programs.__file__ or "").parent
SOURCE = (PROGRAMS / "inter.py").read_text()
PROGRAM = Program(SOURCE)
MARKS = PROGRAM.tunables


def load(source: str) -> ModuleType:
    program = ModuleType("candidate")
    exec(compile(source, "candidate", "exec"), program.__dict__)
    return program


def moving_clip(width: int, height: int, count: int) -> tuple[list[Frame], StreamInfo]:
    """A textured plane that slides by fractions of a sample, with a brighter square on top."""
    chroma = ((height + 1) // 2, (width + 1) // 2)
    frames = []
    for t in range(count):
        y, x = np.mgrid[:height, :width]
        luma = 120 + 40 * np.sin((x + 0.7 * t) / 3.1) * np.cos((y - 0.3 * t) / 4.3)
        luma += 20 * ((x * 7 + y * 3) % 11 < 4)
        luma[4 + t : 14 + t, 6 : 18 + t] += 50
        cy, cx = np.mgrid[: chroma[0], : chroma[1]]
        planes = (luma, 128 + 3.0 * ((cx + t) % 9), 110 + 2.0 * ((cy + cx) % 13))
        frames.append(Frame(*(np.clip(p, 0, 255).astype(np.uint8) for p in planes)))
    return frames, StreamInfo(width, height, Fraction(25), count)


def plain_clip(kind: str, width: int, height: int, count: int) -> tuple[list[Frame], StreamInfo]:
    rng = np.random.default_rng(3)
    shapes = ((height, width), *[((height + 1) // 2, (width + 1) // 2)] * 2)
    frames = [
        Frame(
            *(
                rng.integers(0, 256, s, dtype=np.uint8)
                if kind == "noise"
                else np.full(s, 77, np.uint8)
                for s in shapes
            )
        )
        for _ in range(count)
    ]
    return frames, StreamInfo(width, height, Fraction(25), count)


def digest_of(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        for plane in frame:
            digest.update(plane.tobytes())
    return digest.hexdigest()


def psnr_y_db(a: Sequence[Frame], b: Sequence[Frame]) -> float:
    errors = [np.mean((p.y.astype(float) - q.y) ** 2) for p, q in zip(a, b, strict=True)]
    return 10 * math.log10(255**2 / max(float(np.mean(errors)), 1e-9))


@pytest.mark.parametrize("kind", ["noise", "flat", "moving"])
@pytest.mark.parametrize(("width", "height", "count"), [(35, 21, 5), (16, 16, 1), (1, 1, 2)])
def test_unusual_sizes_lengths_and_content_come_back_whole(
    kind: str, width: int, height: int, count: int
) -> None:
    make = moving_clip if kind == "moving" else lambda *size: plain_clip(kind, *size)
    frames, stream = make(width, height, count)
    program = load(SOURCE)
    decoded = list(program.decode(program.encode(iter(frames), stream, 12.0), stream))
    assert [[p.shape for p in frame] for frame in decoded] == [
        [p.shape for p in frame] for frame in frames
    ]
    assert all(p.dtype == np.uint8 for frame in decoded for p in frame)
    assert psnr_y_db(frames, decoded) > 33


def test_more_qp_never_means_more_bits_or_more_quality() -> None:
    frames, stream = moving_clip(48, 32, 5)
    program = load(SOURCE)
    bits, quality = [], []
    for qp in (0, 12, 22, 32, 42, 52, 63):
        packets = list(program.encode(iter(frames), stream, float(qp)))
        bits.append(sum(map(len, packets)))
        quality.append(psnr_y_db(frames, list(program.decode(iter(packets), stream))))
    assert all(a >= b for a, b in pairwise(bits))
    assert all(a >= b for a, b in pairwise(quality))
    assert bits[0] > 20 * bits[-1]


def test_prediction_makes_a_still_clip_nearly_free_after_its_first_picture() -> None:
    frames, _ = moving_clip(64, 48, 1)
    program = load(SOURCE)
    sizes = []
    for count in (1, 9):
        stream = StreamInfo(64, 48, Fraction(25), count)
        sizes.append(sum(map(len, program.encode(iter(frames * count), stream, 24.0))))
    assert sizes[1] < 1.15 * sizes[0]


@pytest.mark.parametrize("name", ["inter.py", "per_frame.py"])
def test_a_seed_program_imports_only_what_candidates_may(name: str) -> None:
    roots = set()
    for node in ast.walk(ast.parse((PROGRAMS / name).read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            name_of = node.module
            roots.add(name_of if name_of.startswith("evocodec") else name_of.split(".")[0])
    assert roots <= DEFAULT_IMPORTS


def test_the_seed_offers_a_search_many_marks_and_starts_from_allowed_values() -> None:
    assert len(MARKS) >= 12
    assert all(mark.accepts(mark.value) and mark.description for mark in MARKS)


@pytest.mark.parametrize("size", [(1, 1), (21, 35), (48, 64)])
def test_the_per_frame_program_keeps_size_and_quality_follows_qp(size: tuple[int, int]) -> None:
    per_frame = load((PROGRAMS / "per_frame.py").read_text())
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [128 + 60 * np.sin((x + k * y) / (6 + k)) for k in range(3)]
    frame = np.stack(waves, -1).astype(np.uint8)
    config = {"width": size[1], "height": size[0], "fps": 25.0, "frame_count": 1}
    sizes, errors = [], []
    for qp in (4.0, 20.0, 36.0, 52.0):
        data = per_frame.compress_video_frame(frame, 0, {**config, "qp": qp})
        decoded = per_frame.decompress_video_frame(data, 0, {**config, "qp": qp})
        assert decoded.shape == frame.shape
        assert decoded.dtype == np.uint8
        sizes.append(len(data))
        errors.append(float(np.mean((decoded.astype(float) - frame) ** 2)))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert errors[0] < 60
