"""What a result costs besides bits: time against the anchor's, program bytes, and their limits."""

import ast
import lzma
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evocodec.codec.syntax import parse
from evocodec.domain.results import Cost, RatePoint, RdCurve, Score
from evocodec.evaluation.anchor_encoders import AnchorEncoder
from evocodec.evaluation.anchors import measure_anchor
from evocodec.evaluation.clips import Clip

PACKING = "LZMA2 in .xz, preset 9 extreme, 1 MiB dictionary"
"""How a program's text is compressed for ``packed_program_bytes``."""

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**20}]


@dataclass(frozen=True, slots=True)
class CostLimits:
    """What an adopted program may cost at most; 0 means no limit."""

    min_encode_fps: float = 0.0
    min_decode_fps: float = 0.0
    max_memory_mib: float = 0.0
    max_program_kib: float = 0.0


def broken_limits(score: Score, limits: CostLimits) -> tuple[str, ...]:
    """Each limit that a score breaks, in words, with both figures."""
    memory_mib = score.peak_memory_bytes / 2**20
    program_kib = score.packed_program_bytes / 2**10
    broken = [
        f"{verb} {fps:.2f} frames/s, {least - fps:.2f} fewer than the {least:g} of {name}"
        for verb, fps, least, name in (
            ("encodes", score.encode_fps, limits.min_encode_fps, "limits.min_encode_fps"),
            ("decodes", score.decode_fps, limits.min_decode_fps, "limits.min_decode_fps"),
        )
        if fps < least
    ]
    broken += [
        f"{what} {value:.1f} {unit}, {value - most:.1f} more than the {most:g} of {name}"
        for what, value, most, unit, name in (
            ("needs", memory_mib, limits.max_memory_mib, "MiB", "limits.max_memory_mib"),
            ("weighs", program_kib, limits.max_program_kib, "KiB", "limits.max_program_kib"),
        )
        if 0 < most < value
    ]
    return tuple(broken)


def packed_program_bytes(source: str) -> int:
    """Size of a program compressed (``PACKING``), embedded weights included.

    Comments, docstrings and formatting cost nothing: the text is written anew from its syntax
    tree. A text that does not parse is packed as it is.
    """
    try:
        tree = parse(source)
        _drop_docstrings(tree)
        text = ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        text = source
    return len(lzma.compress(text.encode(errors="surrogatepass"), filters=_FILTERS))


def _drop_docstrings(tree: ast.Module) -> None:
    documented = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]


def reference_cost(
    clip: Clip, encoder: AnchorEncoder, curve: RdCurve, operating_psnr_y_db: float, folder: Path
) -> Cost:
    """Encode and decode with the anchor once more, here and now, nearest the operating quality.

    A curve may come from a cache that another machine filled, and then its cost says nothing of
    this one.
    """
    nearest = _nearest(curve, operating_psnr_y_db)
    return measure_anchor(clip, encoder, nearest.qp, folder).cost


def time_ratios(
    curves: Mapping[str, RdCurve],
    operating_db: Mapping[str, float],
    reference: Mapping[str, Cost],
) -> tuple[float | None, float | None]:
    """CPU seconds a frame over the anchor's, to encode and to decode.

    The geometric mean over clips, at the rate point of each nearest the operating quality; None
    where a clip has no time to compare.
    """
    pairs = [
        (_nearest(curve, operating_db[clip]).cost, reference.get(clip, Cost()))
        for clip, curve in curves.items()
    ]
    encode = [(ours.encode_cpu_seconds, x.encode_cpu_seconds, ours, x) for ours, x in pairs]
    decode = [(ours.decode_cpu_seconds, x.decode_cpu_seconds, ours, x) for ours, x in pairs]
    return _mean_ratio(encode), _mean_ratio(decode)


def _mean_ratio(times: list[tuple[float, float, Cost, Cost]]) -> float | None:
    if not times or any(
        min(ours, theirs) <= 0 or min(cost.frames, anchor.frames) <= 0
        for ours, theirs, cost, anchor in times
    ):
        return None
    logs = [
        math.log((ours / cost.frames) / (theirs / anchor.frames))
        for ours, theirs, cost, anchor in times
    ]
    return math.exp(math.fsum(logs) / len(logs))


def _nearest(curve: RdCurve, psnr_y_db: float) -> RatePoint:
    return min(curve.points, key=lambda point: abs(point.quality.psnr_y_db - psnr_y_db))
