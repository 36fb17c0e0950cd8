"""Limits on what an adopted program may cost."""

from dataclasses import dataclass

from evocodec.domain.results import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLimits:
    """Largest cost of an adopted program; 0 means no limit."""

    min_encode_fps: float
    min_decode_fps: float
    max_memory_bytes: int
    max_program_bytes: int


def broken_limits(score: Score, limits: CostLimits) -> tuple[str, ...]:
    """Return a text for each limit that a score breaks, with both figures."""
    broken = [
        f"{verb} {fps:.2f} frames/s, {least - fps:.2f} fewer than the {least:g} of {name}"
        for verb, fps, least, name in (
            ("encodes", score.encode_fps, limits.min_encode_fps, "limits.min_encode_fps"),
            ("decodes", score.decode_fps, limits.min_decode_fps, "limits.min_decode_fps"),
        )
        if fps < least
    ]
    broken += [
        f"{what} {value / size:.1f} {unit}, {(value - most) / size:.1f} more than the "
        f"{most / size:g} of {name}"
        for what, value, most, size, unit, name in (
            (
                *("needs", score.peak_memory_bytes, limits.max_memory_bytes),
                *(1 << 20, "MiB", "limits.max_memory_mib"),
            ),
            (
                *("weighs", score.packed_program_bytes, limits.max_program_bytes),
                *(1 << 10, "KiB", "limits.max_program_kib"),
            ),
        )
        if 0 < most < value
    ]
    return tuple(broken)
