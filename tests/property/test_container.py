"""The .evc container against anything: round trips, truncations, flipped bytes, noise."""

import io
import tracemalloc
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from evocodec.codec.container import (
    EvcHeader,
    read_evc,
    skim,
    write_evc,
)
from evocodec.domain.errors import ContainerError
from evocodec.domain.video import StreamInfo

printable = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=16)
streams = st.builds(
    StreamInfo,
    width=st.integers(1, 16384),
    height=st.integers(1, 16384),
    fps=st.sampled_from(
        [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(1, 7), Fraction(1000)]
    ),
    frame_count=st.integers(1, 10_000_000),
)
headers = st.builds(EvcHeader, writer=printable, stream=streams)
packet_lists = st.lists(st.binary(max_size=300), max_size=12)


def pack(header: EvcHeader, packets: list[bytes]) -> bytes:
    out = io.BytesIO()
    assert write_evc(out, header, packets) == len(out.getvalue())
    return out.getvalue()


def parse(data: bytes) -> tuple[EvcHeader, list[bytes]] | None:
    """The parsed file, or None for a ContainerError; anything else propagates."""
    try:
        header, packets = read_evc(data)
        return header, list(packets)
    except ContainerError:
        return None


@given(headers, packet_lists)
def test_what_is_written_is_read(header: EvcHeader, packets: list[bytes]) -> None:
    data = pack(header, packets)
    assert parse(data) == (header, packets)


@given(headers, packet_lists)
def test_every_truncation_is_noticed(header: EvcHeader, packets: list[bytes]) -> None:
    data = pack(header, packets)
    assert all(parse(data[:length]) is None for length in range(len(data)))


def skimmed(data: bytes) -> tuple[EvcHeader, int, int] | None:
    """What skimming says of a file, or None for a ContainerError; anything else propagates."""
    try:
        summary = skim(io.BytesIO(data))
    except ContainerError:
        return None
    return summary.header, summary.packets, summary.file_bytes


@given(
    st.one_of(
        st.builds(pack, headers, packet_lists),
        st.builds(lambda h, p, cut: pack(h, p)[:cut], headers, packet_lists, st.integers(0, 400)),
        st.builds(lambda h, noise: pack(h, [])[:-1] + noise, headers, st.binary(max_size=60)),
        st.builds(lambda noise: b"EVC\x01" + noise, st.binary(max_size=60)),
    )
)
def test_skimming_accepts_what_reading_accepts_unless_the_claim_is_absurd(data: bytes) -> None:
    read, told = parse(data), skimmed(data)
    if read is None:
        assert told is None
    elif read[0].stream.frame_count <= 1024 * len(data):
        assert told == (read[0], len(read[1]), len(data))
    else:
        assert told is None


@given(headers, packet_lists, st.data())
def test_flipped_bytes_parse_or_are_refused(
    header: EvcHeader, packets: list[bytes], data: st.DataObject
) -> None:
    damaged = bytearray(pack(header, packets))
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[position] ^= data.draw(st.integers(1, 255))
    parsed = parse(bytes(damaged))
    if parsed is not None:
        assert pack(*parsed) == damaged


@given(st.binary(max_size=200))
def test_noise_behind_a_magic_parses_or_is_refused(noise: bytes) -> None:
    parsed = parse(b"EVC\x01" + noise)
    if parsed is not None:
        assert pack(*parsed) == b"EVC\x01" + noise


@given(headers, st.integers(2**20, 2**26))
def test_a_claimed_length_allocates_nothing_by_itself(header: EvcHeader, claimed: int) -> None:
    framed = bytearray()
    rest = claimed
    while rest > 127:
        framed.append(rest & 127 | 128)
        rest >>= 7
    framed.append(rest)
    data = pack(header, [])[:-1] + bytes(framed) + b"x"
    buffered = io.BufferedReader(io.BytesIO(data))
    tracemalloc.start()
    try:
        _, packets = read_evc(buffered)
        try:
            next(packets)
        except ContainerError:
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**20
