"""Limits on what an adopted program may cost."""

from dataclasses import dataclass

from evocodec.domain.results import Score


@dataclass(frozen=True, slots=True)
class CostLimits:
    """Largest cost of an adopted program; 0 means no limit."""

    min_encode_fps: float = 0.0
    min_decode_fps: float = 0.0
    max_memory_mib: float = 0.0
    max_program_kib: float = 0.0


def broken_limits(score: Score, limits: CostLimits) -> tuple[str, ...]:
    """Return a text for each limit that a score breaks, with both figures."""
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
