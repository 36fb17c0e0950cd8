"""Y4M files give back exactly the samples that went in."""

import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evocodec.domain.errors import SourceError
from evocodec.domain.video import Frame, StreamInfo
from evocodec.video.y4m import read_y4m, write_y4m


def random_frames(stream: StreamInfo, seed: int) -> tuple[Frame, ...]:
    generator = np.random.default_rng(seed)
    chroma = (stream.chroma_height, stream.chroma_width)
    shapes = ((stream.height, stream.width), chroma, chroma)
    return tuple(
        Frame(*(generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes))
        for _ in range(stream.frame_count)
    )


streams = st.builds(
    StreamInfo,
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    fps=st.fractions(Fraction(1, 100), Fraction(1000), max_denominator=10000),
    frame_count=st.integers(0, 4),
)


@given(streams, st.integers(0, 2**32))
def test_a_round_trip_keeps_every_sample_and_the_exact_rate(stream: StreamInfo, seed: int) -> None:
    frames = random_frames(stream, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.y4m"
        assert write_y4m(path, stream, frames) == len(frames)
        read_stream, read_frames = read_y4m(path)
    assert read_stream == stream
    for ours, theirs in zip(frames, read_frames, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@given(st.integers(1, 10**6), st.integers(0, 2**32))
def test_a_cut_file_is_refused_or_is_a_shorter_clip(cut: int, seed: int) -> None:
    stream = StreamInfo(7, 5, Fraction(25), 3)
    frames = random_frames(stream, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.y4m"
        write_y4m(path, stream, frames)
        whole = path.read_bytes()
        path.write_bytes(whole[: cut % len(whole)])
        try:
            read_stream, read_frames = read_y4m(path)
        except SourceError:
            return
    assert read_stream.frame_count == len(read_frames) < 3
    assert all(np.array_equal(a.y, b.y) for a, b in zip(frames, read_frames, strict=False))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_message(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.y4m"
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"Y4M|out of range"):
            read_y4m(path)
