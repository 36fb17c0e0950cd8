"""The ``.evc`` file format: writer id, stream header, packets. Its size is the bit count.

Version 1, byte by byte (``varint`` is unsigned LEB128, least significant group first, in its
shortest form)::

    3 bytes   "EVC"
    1 byte    format version, 1
    varint    length of the writer id in bytes, 1…64
    n bytes   writer id, printable UTF-8: the version whose decoder is needed, such as "v3+1a2b3c4d"
    varint    width, 1…16384            varint    height, 1…16384
    varint    fps numerator             varint    fps denominator, in lowest terms
    varint    frame count, 1…10 000 000
    packets   varint (length + 1), then that many bytes; a packet may be empty
    1 byte    0: the end; nothing may follow

Version 2, which ``evocodec encode`` writes, is the same but for the version byte and four more
bytes after the end: the CRC-32 of all bytes before them (ISO-HDLC, as in PNG and gzip), most
significant byte first. It tells damage from a program that fails. The bits of a candidate are
counted in version 1, as they always were.

There is exactly one way to write a given header and packets, so reading and writing again gives
the same bytes. Files are hostile input: every number is bounded before it is used, and memory grows
only with bytes that are really there.
"""

import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

from evocodec.domain.errors import ContainerError
from evocodec.domain.video import StreamInfo

MAGIC = b"EVC"
FORMAT_VERSION = 1
CHECKED_VERSION = 2
CHECKSUM_BYTES = 4
MAX_PACKET_BYTES = 64 * 1024 * 1024
MAX_SIDE = 16_384
MAX_FRAMES = 10_000_000
MAX_FPS = 1_000
MAX_FPS_TERM = 1_000_000
MAX_WRITER_BYTES = 64

_FRAMES_PER_BYTE = 1024
_PACKETS_PER_FRAME = 256
_PACKETS_BESIDES = 1024
_CHUNK_BYTES = 1024 * 1024
_VARINT_BYTES = 5


@dataclass(frozen=True, slots=True)
class EvcHeader:
    """Header of a file, before the packets.

    ``writer`` names the codec version that wrote the file. To compare sizes, give all codecs writer
    ids of equal length; otherwise the length of the name counts.
    """

    writer: str
    stream: StreamInfo


class EvcWriter:
    """Writes a file packet by packet; ``checked`` with a checksum at its end (version 2).

    Raises ContainerError when the header or a packet is outside the format's bounds.
    """

    def __init__(self, fileobj: BinaryIO, header: EvcHeader, *, checked: bool = False) -> None:
        self._file = fileobj
        self._checked = checked
        self._crc = 0
        self._size = 0
        self._packets = 0
        self._write(_header_bytes(header, CHECKED_VERSION if checked else FORMAT_VERSION))

    def packet(self, packet: bytes) -> None:
        """Write the next packet."""
        prefix = _packet_prefix(self._packets, len(packet))
        self._write(prefix)
        self._write(packet)
        self._packets += 1

    def finish(self) -> int:
        """Write the end mark and the checksum; returns the size of the file in bytes."""
        self._write(b"\0")
        if self._checked:
            self._write(self._crc.to_bytes(CHECKSUM_BYTES, "big"))
        return self._size

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)
        if self._checked:
            self._crc = zlib.crc32(data, self._crc)


def write_evc(fileobj: BinaryIO, header: EvcHeader, packets: Iterable[bytes]) -> int:
    """Write a whole file and return its size in bytes; raises as ``EvcWriter`` does."""
    writer = EvcWriter(fileobj, header)
    for packet in packets:
        writer.packet(packet)
    return writer.finish()


@dataclass(frozen=True, slots=True)
class EvcSummary:
    """What a whole file claims, and how much it has."""

    header: EvcHeader
    packets: int
    file_bytes: int


def skim(file: BinaryIO) -> EvcSummary:
    """Check a seekable file's framing from end to end, and the checksum of one that has it.

    Raises ContainerError as ``read_evc`` and its iterator do, and for a file with far more frames
    than its bytes, or far more packets than its frames, can be meant for.
    """
    file_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    _require_checksum(file, file_bytes)
    reader = _Reader(file, file_bytes)
    header = _read_header(reader)
    frames = header.stream.frame_count
    if frames > file_bytes * _FRAMES_PER_BYTE:
        raise ContainerError(
            f"the header claims {frames} frames in a file of {file_bytes} bytes; no codec needs so "
            "little. The file is damaged, or was made to fill a disk"
        )
    most = frames * _PACKETS_PER_FRAME + _PACKETS_BESIDES
    number = 0
    while True:
        length = _packet_length(reader, number)
        if length is None:
            break
        number += 1
        if number > most:
            raise ContainerError(
                f"the file has more than {most} packets for {frames} frames; it is damaged"
            )
        reader.skip(length, f"packet {number - 1}")
    if reader.version == CHECKED_VERSION:
        reader.skip(CHECKSUM_BYTES, "checksum")
    _require_end(reader)
    return EvcSummary(header, number, file_bytes)


def read_evc(source: BinaryIO | bytes) -> tuple[EvcHeader, Iterator[bytes]]:
    """Read the header at once, and the packets lazily.

    Raises ContainerError at once for a bad header, and from the iterator for a packet that is
    truncated or too long, a missing end mark, or bytes after it.
    """
    reader = _Reader(source)
    return _read_header(reader), _read_packets(reader)


def _require_checksum(file: BinaryIO, file_bytes: int) -> None:
    """Refuse a file of version 2 whose bytes are not those that were written; leaves it at 0."""
    if file.read(len(MAGIC) + 1) == MAGIC + bytes([CHECKED_VERSION]):
        file.seek(0)
        reader = _Reader(file)
        left = file_bytes - CHECKSUM_BYTES
        while left > 0:
            left -= len(reader.at_most(min(left, _CHUNK_BYTES))) or left
        _compare_checksum(reader)
    file.seek(0)


def _compare_checksum(reader: "_Reader") -> None:
    found = reader.crc
    written = int.from_bytes(reader.at_most(CHECKSUM_BYTES), "big")
    if found != written:
        raise ContainerError(
            f"the file is damaged or incomplete: its checksum is {found:08x}, and {written:08x} "
            "was written into it; copy or download it again, or encode the video again"
        )


def _read_packets(reader: "_Reader") -> Iterator[bytes]:
    number = 0
    while True:
        length = _packet_length(reader, number)
        if length is None:
            break
        yield reader.exactly(length, f"packet {number}")
        number += 1
    if reader.version == CHECKED_VERSION:
        _compare_checksum(reader)
    _require_end(reader)


def _packet_length(reader: "_Reader", number: int) -> int | None:
    """Return the bytes of the next packet; None at the end mark."""
    at = reader.offset
    framed = reader.varint(f"length of packet {number}")
    if framed - 1 > MAX_PACKET_BYTES:
        raise ContainerError(
            f"packet {number} at byte {at} claims {framed - 1} bytes; "
            f"the limit is {MAX_PACKET_BYTES}. The file is damaged"
        )
    return framed - 1 if framed else None


def _require_end(reader: "_Reader") -> None:
    if reader.at_most(1):
        raise ContainerError(
            f"bytes follow the end marker at byte {reader.offset - 1}; the file is damaged, "
            "or two files were joined"
        )


def _header_bytes(header: EvcHeader, version: int) -> bytes:
    writer = header.writer.encode("utf-8", "surrogatepass")
    _check_writer(header.writer, len(writer))
    stream = header.stream
    _check_stream(stream.width, stream.height, stream.fps, stream.frame_count)
    numbers = (
        stream.width,
        stream.height,
        stream.fps.numerator,
        stream.fps.denominator,
        stream.frame_count,
    )
    fields = b"".join(_varint(number) for number in numbers)
    return MAGIC + bytes([version]) + _varint(len(writer)) + writer + fields


def _read_header(reader: "_Reader") -> EvcHeader:
    magic = reader.at_most(len(MAGIC))
    if magic != MAGIC:
        raise ContainerError(
            f"not an .evc file: it starts with {magic!r}, not {MAGIC!r}. "
            "Make one with: evocodec encode VIDEO OUT.evc"
        )
    version = reader.version = reader.exactly(1, "format version")[0]
    if version not in (FORMAT_VERSION, CHECKED_VERSION):
        raise ContainerError(
            f"format version {version} at byte 3; this program reads {FORMAT_VERSION} and "
            f"{CHECKED_VERSION}; the file is newer, or damaged. Upgrade evocodec for newer files"
        )
    writer = _read_writer(reader)
    width = reader.varint("width")
    height = reader.varint("height")
    numerator = reader.varint("fps numerator")
    denominator = reader.varint("fps denominator")
    frame_count = reader.varint("frame count")
    if denominator == 0:
        raise ContainerError(f"the fps denominator before byte {reader.offset} is 0")
    fps = Fraction(numerator, denominator)
    if fps.denominator != denominator:
        raise ContainerError(f"fps {numerator}/{denominator} is not in lowest terms")
    _check_stream(width, height, fps, frame_count)
    return EvcHeader(writer, StreamInfo(width, height, fps, frame_count))


def _read_writer(reader: "_Reader") -> str:
    length = reader.varint("length of the writer id")
    if length > MAX_WRITER_BYTES:
        raise ContainerError(f"writer id of {length} bytes; the limit is {MAX_WRITER_BYTES}")
    at = reader.offset
    try:
        writer = reader.exactly(length, "writer id").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContainerError(f"the writer id at byte {at} is not UTF-8") from error
    _check_writer(writer, length)
    return writer


def _check_writer(writer: str, length: int) -> None:
    # Printable, because it is shown: a file must not be able to control a terminal.
    if not 1 <= length <= MAX_WRITER_BYTES or not writer.isprintable():
        raise ContainerError(
            f"writer id {writer!r} ({length} bytes) must be 1 to {MAX_WRITER_BYTES} bytes of "
            "printable text"
        )


def _check_stream(width: int, height: int, fps: Fraction, frame_count: int) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ContainerError(f"size {width}x{height}; each side must be 1 to {MAX_SIDE}")
    terms = max(fps.numerator, fps.denominator)
    if not 0 < fps <= MAX_FPS or terms > MAX_FPS_TERM:
        raise ContainerError(
            f"fps {fps}; it must be above 0, at most {MAX_FPS}, "
            f"with terms of at most {MAX_FPS_TERM}"
        )
    if not 1 <= frame_count <= MAX_FRAMES:
        raise ContainerError(f"frame count {frame_count}; it must be 1 to {MAX_FRAMES}")


def _packet_prefix(number: int, length: int) -> bytes:
    if length > MAX_PACKET_BYTES:
        raise ContainerError(f"packet {number} has {length} bytes; the limit is {MAX_PACKET_BYTES}")
    return _varint(length + 1)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


class _Reader:
    """Reads exact amounts and tracks the offset, for messages."""

    def __init__(self, source: BinaryIO | bytes, file_bytes: int = 0) -> None:
        self._file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
        self._file_bytes = file_bytes
        self.offset = 0
        self.version = 0
        self.crc = 0  # of what was read

    def skip(self, count: int, what: str) -> None:
        """Step over bytes of a file whose size is known."""
        there = self._file_bytes - self.offset
        if count > there:
            raise self._truncated(self.offset, what, there, count)
        self._file.seek(count, io.SEEK_CUR)
        self.offset += count

    def at_most(self, count: int) -> bytes:
        # In pieces: read(n) of a buffered file allocates n bytes before it knows they exist.
        pieces: list[bytes] = []
        missing = count
        while missing:
            piece = self._file.read(min(missing, _CHUNK_BYTES))
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
            self.crc = zlib.crc32(piece, self.crc)
        self.offset += count - missing
        return b"".join(pieces)

    def exactly(self, count: int, what: str) -> bytes:
        at = self.offset
        data = self.at_most(count)
        if len(data) != count:
            raise self._truncated(at, what, len(data), count)
        return data

    @staticmethod
    def _truncated(at: int, what: str, there: int, count: int) -> ContainerError:
        return ContainerError(
            f"the file ends at byte {at + there}, inside the {what} that starts at byte {at} "
            f"({there} of {count} bytes are there). It is truncated"
        )

    def varint(self, what: str) -> int:
        at = self.offset
        value = 0
        for index in range(_VARINT_BYTES):
            group = self.exactly(1, what)[0]
            value |= (group & 0x7F) << (7 * index)
            if group < 0x80:
                if group == 0 and index > 0:
                    raise ContainerError(f"the {what} at byte {at} is not in its shortest form")
                return value
        raise ContainerError(f"the {what} at byte {at} is longer than {_VARINT_BYTES} bytes")
