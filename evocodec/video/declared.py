"""Declaration of a video: what ffmpeg's report of an input says of its streams."""

import re
from dataclasses import dataclass
from fractions import Fraction

from evocodec.domain.errors import SourceError

PROGRESSIVE = "progressive"
_FIELD_ORDERS = {
    "top first": "top",
    "bottom first": "bottom",
    "top coded first (swapped)": "bottom",  # coded top first, shown bottom first
    "bottom coded first (swapped)": "top",
    "progressive": PROGRESSIVE,
}
_HDR_TRANSFERS = {"smpte2084": "HDR (PQ)", "arib-std-b67": "HDR (HLG)"}
_MATRICES = ("bt", "smpte", "fcc", "gbr", "ycgco", "ictcp", "chroma-derived", "ipt")
_ALPHA = ("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16", "pal8")
_SAME_MATRIX = ("", "bt709", "unknown")


@dataclass(frozen=True, slots=True)
class Probe:
    """Declared properties of the video stream that is read; sizes are those after rotation.

    ``colour_range`` is "tv", "pc" or empty, ``matrix``, ``primaries`` and ``transfer`` are ffmpeg's
    names or empty where the file does not say. ``field_order`` is "top", "bottom", "progressive" or
    empty. ``sample_aspect`` is width over height of a sample. ``duration`` is the container's, in
    seconds. ``others`` describes further video streams, which are not read.
    """

    width: int
    height: int
    pixel_format: str
    colour_range: str
    matrix: str
    primaries: str = ""
    transfer: str = ""
    field_order: str = ""
    sample_aspect: Fraction | None = None
    fps: Fraction | None = None
    duration: float | None = None
    codec: str = ""
    container: str = ""
    rotation: str = ""
    others: tuple[str, ...] = ()
    sound: bool = False

    @property
    def is_native(self) -> bool:
        """Whether samples need no conversion."""
        return (
            self.pixel_format == "yuv420p"
            and self.colour_range != "pc"
            and self.matrix in _SAME_MATRIX
        )

    @property
    def is_grey(self) -> bool:
        """Whether there is luma only, which swscale takes for full range whatever is declared."""
        return self.pixel_format.startswith(("gray", "ya8", "ya16"))


def parse_report(report: str) -> Probe | None:
    """Parse ffmpeg's report of one input; None when it has no video stream.

    Cover pictures are no video. Raises ``SourceError`` for a stream without size or format.
    """
    blocks = re.split(r"^(?=\s*Stream #)", report, flags=re.MULTILINE)
    found = []
    for block in blocks:
        match = re.match(r"\s*Stream #\S+: Video: (.*)", block)
        if match is not None and "(attached pic)" not in match[1]:
            found.append((match[1], block))
    if not found:
        return None
    line, block = found[0]
    declared = parse_video_line(line)
    turned = re.search(r"rotation of (-?[\d.]+)", block)
    degrees = float(turned[1]) if turned else 0.0
    sideways = abs(abs(degrees) - 90) < 1  # ffmpeg turns phone videos upright
    aspect = declared.sample_aspect
    container = re.search(r"^Input #0, (\S+), from", report, flags=re.MULTILINE)
    return Probe(
        width=declared.height if sideways else declared.width,
        height=declared.width if sideways else declared.height,
        pixel_format=declared.pixel_format,
        colour_range=declared.colour_range,
        matrix=declared.matrix,
        primaries=declared.primaries,
        transfer=declared.transfer,
        field_order=declared.field_order,
        sample_aspect=1 / aspect if aspect and sideways else aspect,
        fps=declared.fps,
        duration=_duration(report),
        codec=declared.codec,
        container=container[1].rstrip(",") if container else "",
        rotation=f"{degrees:g}" if degrees else "",
        others=tuple(_short(other) for other, _ in found[1:]),
        sound=": Audio:" in report,
    )


def parse_video_line(line: str) -> Probe:
    """Parse what follows ``Video:`` in ffmpeg's report of an input."""
    fields = re.findall(r"(?:[^,(]|\([^)]*\)+)+", line)
    match = re.match(r"\s*(\w+)(?:\((.*)\))?\s*$", fields[1] if len(fields) > 1 else "")
    size = re.search(r", (\d+)x(\d+)", line)
    if match is None or match[1] == "none" or size is None:
        raise SourceError("the video stream has no size or pixel format to decode")
    notes = [note.strip() for note in (match[2] or "").split(",")]
    colour_range = next((note for note in notes if note in ("tv", "pc")), "")
    if match[1].startswith("yuvj"):
        colour_range = "pc"
    spaces = [note for note in notes if "/" in note or note.startswith(_MATRICES)]
    # One name alone stands for matrix, primaries and transfer.
    names = (spaces[0].split("/") * 3)[:3] if spaces else ["", "", ""]
    matrix, primaries, transfer = ("" if name == "unknown" else name for name in names)
    aspect = re.search(r"SAR (\d+):(\d+)", line)
    fps = re.search(r"([\d.]+k?) fps", line)
    return Probe(
        width=int(size[1]),
        height=int(size[2]),
        pixel_format=match[1],
        colour_range=colour_range,
        matrix=matrix,
        primaries=primaries,
        transfer=transfer,
        field_order=next((_FIELD_ORDERS[note] for note in notes if note in _FIELD_ORDERS), ""),
        sample_aspect=_aspect(int(aspect[1]), int(aspect[2])) if aspect else None,
        fps=_rate(fps[1]) if fps else None,
        codec=(re.match(r"\s*(\w+)", line) or ("", ""))[1],
    )


def notices(declared: Probe) -> tuple[str, ...]:
    """Say what was chosen or given up to get 8-bit 4:2:0 BT.709 frames, for people."""
    found = []
    if declared.others:
        found.append(
            f"the file has {1 + len(declared.others)} video streams: the first one is read, the "
            f"others ({'; '.join(declared.others)}) are not; to read the second, copy it out with "
            "`ffmpeg -i IN -map 0:v:1 -c copy OUT.mkv`"
        )
    if declared.rotation:
        found.append(
            f"the file asks for a rotation by {declared.rotation} degrees, which was applied"
        )
    if declared.field_order in ("top", "bottom"):
        found.append(
            f"the video is interlaced ({declared.field_order} field first); its two fields are "
            "kept as one frame, nothing was deinterlaced"
        )
    hdr = _HDR_TRANSFERS.get(declared.transfer)
    if hdr:
        found.append(
            f"the video is {hdr}; it was reduced to 8 bits and a BT.709 matrix without tone "
            "mapping, so figures are of those samples"
        )
    if declared.pixel_format.startswith(_ALPHA) and declared.codec != "gif":
        found.append("the pictures may have transparency (alpha), which is left out")
    return tuple(found)


def _aspect(across: int, down: int) -> Fraction | None:
    return Fraction(across, down) if across and down else None


def _rate(text: str) -> Fraction | None:
    value = Fraction(text[:-1]) * 1000 if text.endswith("k") else Fraction(text)
    return value or None


def _duration(report: str) -> float | None:
    match = re.search(r"^\s*Duration: (\d+):(\d+):([\d.]+)", report, flags=re.MULTILINE)
    if match is None:
        return None
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])


def _short(line: str) -> str:
    codec = re.match(r"\s*\w+", line)
    size = re.search(r"\d+x\d+", line)
    return " ".join(found[0].strip() for found in (codec, size) if found)
