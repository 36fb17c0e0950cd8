"""The .evc container: its bytes, its bounds, and what it says about files it cannot read."""

import io
from fractions import Fraction

import pytest

from evocodec.codec.container import (
    MAX_PACKET_BYTES,
    EvcHeader,
    EvcWriter,
    read_evc,
    skim,
    write_evc,
)
from evocodec.domain.errors import ContainerError
from evocodec.domain.video import StreamInfo

STREAM = StreamInfo(176, 144, Fraction(30000, 1001), 32)
HEADER = EvcHeader("v3+1a2b3c4d", STREAM)


def packed(packets: list[bytes], header: EvcHeader = HEADER) -> bytes:
    out = io.BytesIO()
    write_evc(out, header, packets)
    return out.getvalue()


def test_the_bytes_of_version_1_never_change() -> None:
    header = EvcHeader("v1", StreamInfo(4, 300, Fraction(25), 2))
    expected = b"EVC\x01" + b"\x02v1" + b"\x04" + b"\xac\x02" + b"\x19\x01" + b"\x02"
    assert packed([b"ab", b""], header) == expected + b"\x03ab" + b"\x01" + b"\x00"


def test_the_header_costs_at_most_24_bytes_for_a_short_writer_id() -> None:
    empty = len(packed([], EvcHeader("v3+1a2b", STREAM)))
    assert empty <= 24


def test_a_packet_costs_one_byte_when_short_and_two_when_long() -> None:
    empty = len(packed([]))
    assert len(packed([bytes(126)])) - empty == 126 + 1
    assert len(packed([bytes(127)])) - empty == 127 + 2


def test_the_returned_size_is_the_file_size() -> None:
    packets = [b"", b"abc", bytes(5000)]
    out = io.BytesIO()
    size = write_evc(out, HEADER, packets)
    assert size == len(out.getvalue())


def test_packets_are_read_lazily_from_a_file_object() -> None:
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    source = Counted(packed([bytes(1000), bytes(1000)]))
    _, packets = read_evc(source)
    next(packets)
    assert source.taken < 1100


def test_the_header_can_be_read_alone() -> None:
    header, _ = read_evc(packed([b"x"])[:-2])  # its packet is cut off
    assert header == HEADER


def test_a_foreign_file_is_named_as_such() -> None:
    with pytest.raises(ContainerError, match=r"not an \.evc file.*RIFF?"):
        read_evc(b"RIFF....")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ContainerError, match="not an"):
        read_evc(b"")


def test_a_newer_version_asks_for_an_upgrade() -> None:
    data = bytearray(packed([]))
    data[3] = 3
    with pytest.raises(ContainerError, match=r"format version 3 at byte 3.*[Uu]pgrade"):
        read_evc(bytes(data))


def test_truncation_says_where_and_inside_what() -> None:
    data = packed([b"abcdef"])
    _, packets = read_evc(data[:-4])
    with pytest.raises(ContainerError, match=r"ends at byte \d+, inside the packet 0.*3 of 6"):
        next(packets)


def test_a_missing_end_marker_is_a_truncation() -> None:
    _, packets = read_evc(packed([b"ab"])[:-1])
    assert next(packets) == b"ab"
    with pytest.raises(ContainerError, match="length of packet 1"):
        next(packets)


def test_bytes_after_the_end_are_refused() -> None:
    _, packets = read_evc(packed([]) + b"x")
    with pytest.raises(ContainerError, match="follow the end marker"):
        next(packets)


def test_a_claimed_packet_beyond_the_limit_is_refused_by_its_length() -> None:
    data = packed([])[:-1] + b"\xff\xff\xff\xff\x0f"
    _, packets = read_evc(data)
    with pytest.raises(ContainerError, match=f"limit is {MAX_PACKET_BYTES}"):
        next(packets)


@pytest.mark.parametrize(
    "stream",
    [
        StreamInfo(0, 144, Fraction(30), 1),
        StreamInfo(176, 16385, Fraction(30), 1),
        StreamInfo(176, 144, Fraction(0), 1),
        StreamInfo(176, 144, Fraction(-25), 1),
        StreamInfo(176, 144, Fraction(1001), 1),
        StreamInfo(176, 144, Fraction(1, 1_000_001), 1),
        StreamInfo(176, 144, Fraction(30), 0),
        StreamInfo(176, 144, Fraction(30), 10_000_001),
    ],
)
def test_streams_outside_the_bounds_are_not_written(stream: StreamInfo) -> None:
    with pytest.raises(ContainerError):
        packed([], EvcHeader("v1", stream))


@pytest.mark.parametrize("writer", ["", "x" * 65, "a\x1b[2J", "two\nlines", "\ud800"])
def test_writer_ids_that_could_not_be_shown_are_not_written(writer: str) -> None:
    with pytest.raises(ContainerError, match="writer id"):
        packed([], EvcHeader(writer, STREAM))


def test_a_longer_form_of_a_number_is_refused() -> None:
    start = b"EVC\x01\x02v1"
    with pytest.raises(ContainerError, match=r"width.*shortest form"):
        read_evc(start + b"\x84\x00")


def test_fps_must_be_in_lowest_terms() -> None:
    with pytest.raises(ContainerError, match="lowest terms"):
        read_evc(b"EVC\x01\x02v1" + b"\x04\x04" + b"\x32\x02" + b"\x01")


def test_an_fps_denominator_of_zero_is_refused() -> None:
    with pytest.raises(ContainerError, match="denominator"):
        read_evc(b"EVC\x01\x02v1" + b"\x04\x04" + b"\x32\x00" + b"\x01")


def checked(packets: list[bytes], header: EvcHeader = HEADER) -> bytes:
    out = io.BytesIO()
    writer = EvcWriter(out, header, checked=True)
    for packet in packets:
        writer.packet(packet)
    assert writer.finish() == len(out.getvalue())
    return out.getvalue()


def test_the_bytes_of_version_2_never_change() -> None:
    header = EvcHeader("v1", StreamInfo(4, 300, Fraction(25), 2))
    first = bytearray(packed([b"ab", b""], header))
    first[3] = 2
    assert checked([b"ab", b""], header).hex() == bytes(first).hex() + "3cfe8e10"


def test_a_checked_file_has_the_same_packets_and_four_bytes_more() -> None:
    packets = [b"", b"abc", bytes(5000)]
    data = checked(packets)
    assert len(data) == len(packed(packets)) + 4
    header, found = read_evc(data)
    assert (header, list(found)) == (HEADER, packets)
    assert skim(io.BytesIO(data)).packets == 3


def test_any_flipped_byte_of_a_checked_file_is_told_before_a_packet_is_used() -> None:
    data = checked([b"abc", bytes(300)])
    for place in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= flip
            with pytest.raises(ContainerError, match=r"damaged|not an \.evc file"):
                skim(io.BytesIO(bytes(damaged)))


def test_a_checked_file_that_is_cut_or_longer_is_damaged() -> None:
    data = checked([b"abc", bytes(300)])
    for cut in range(5, len(data)):
        with pytest.raises(ContainerError, match="damaged or incomplete"):
            skim(io.BytesIO(data[:cut]))
    with pytest.raises(ContainerError, match="damaged or incomplete"):
        skim(io.BytesIO(data + b"\0"))
    with pytest.raises(ContainerError, match="checksum"):
        list(read_evc(data[:-1] + b"\0")[1])
