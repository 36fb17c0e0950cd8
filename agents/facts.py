"""Facts of a run as texts for prompts: the past, measurements, marked constants.

Whatever a candidate or a model wrote stands between fences.
"""

from collections.abc import Sequence

from agents.requests import HistoryItem, Measured, Past
from agents.templates import fenced
from evocodec.codec.program import Program

_ITEM_LIMIT = 1300  # characters of one past experiment, on average
_MOST_ROWS = 40
_ADOPTION_LIMIT = 4000


def describe_history(history: tuple[HistoryItem, ...]) -> str:
    """Return the past experiments as a fenced list, newest last."""
    if not history:
        return "None is shown."
    lines = [_describe(item) for item in history]
    return fenced("\n".join(lines), limit=max(24_000, _ITEM_LIMIT * len(history)))


def describe_change(percent: float, other: str) -> str:
    """Return a difference in bits in words: its sign means the opposite in other places."""
    return f"{abs(percent):.1f} % {'fewer' if percent >= 0 else 'more'} bits than {other}"


def _describe(item: HistoryItem) -> str:
    outcome = item.status + (f" ({item.failure})" if item.failure else "")
    facts = [f"{item.candidate_id}: {outcome}"]
    if item.bitrate_mbps is not None:
        facts.append(f"{item.bitrate_mbps:.2f} Mbit/s")
    elif item.estimated_bitrate_mbps is not None:
        facts.append(f"about {item.estimated_bitrate_mbps:.2f} Mbit/s by the screen")
    if item.improvement_percent is not None:
        other = item.compared_with or "the version of its time"
        facts.append(describe_change(item.improvement_percent, other))
    lines = [", ".join(facts), f"  hypothesis: {_flat(item.hypothesis, 600)}"]
    if item.edits:
        lines.append("  edits: " + ", ".join(f"{name} = {value}" for name, value in item.edits))
    if item.reason:
        lines.append(f"  ended: {_flat(item.reason, 400)}")
    return "\n".join(lines)


def describe_past(past: Past) -> str:
    """Return what older experiments and other runs came to."""
    lines = list(past.older)
    if past.earlier_runs:
        lines += ["Other runs of this workspace, newest last:"]
        lines += [_describe(item) for item in past.earlier_runs]
    if not lines:
        return "Nothing."
    return fenced("\n".join(lines), limit=8000)


def describe_in_flight(past: Past) -> str:
    """Return the hypotheses that are being tried."""
    if not past.in_flight:
        return "Nothing."
    return fenced("\n".join(f"- {_flat(text, 300)}" for text in past.in_flight), limit=6000)


def describe_last_adoption(past: Past) -> str:
    """Return the difference that the newest version made."""
    if not past.last_adoption:
        return "Nothing is adopted yet."
    return fenced(past.last_adoption, limit=_ADOPTION_LIMIT, language="diff")


def describe_measured(measured: Measured, *, wall_seconds: float) -> str:
    """Return a table of clips and rates, and the time against its limit."""
    if not measured.rows:
        return "It was not measured on all clips yet."
    lines = [f"{'clip':<24} {'PSNR-Y':>7} {'kbit':>9}  bits of it over those of others"]
    for row in measured.rows[:_MOST_ROWS]:
        others = [("HEVC", row.hevc_ratio), ("the version to beat", row.champion_ratio)]
        ratios = [f"{ratio:.3f} x {name}" for name, ratio in others if ratio is not None]
        lines.append(
            f"{row.clip[:24]:<24} {row.psnr_y_db:7.2f} {row.bits / 1000:9.1f}  "
            + (", ".join(ratios) or "not comparable there")
        )
    slowest = (
        f"Slowest clip: {measured.encode_seconds:.1f} s to encode, {measured.decode_seconds:.1f} s "
        f"to decode, of {wall_seconds:g} s allowed for each."
    )
    return fenced("\n".join(lines), limit=8000) + f"\n{slowest}"


def describe_tunables(program: Program) -> str:
    """Return the tunables of a program as text for a prompt: its author wrote parts of them."""
    tunables = program.readable_tunables
    if not tunables:
        return "The program has no marked constants."
    lines = [
        f"{tunable.name} = {tunable.value} (allowed: {tunable.allowed()})"
        + (f": {tunable.description}" if tunable.description else "")
        for tunable in tunables
    ]
    return fenced("\n".join(lines), limit=16_000)


def describe_bitrate(bitrate_mbps: float | None) -> str:
    """Return a bitrate with its unit, or that there is none."""
    return "not measured" if bitrate_mbps is None else f"{bitrate_mbps:.3f} Mbit/s"


def summed_up(items: Sequence[HistoryItem]) -> tuple[str, ...]:
    """Return many experiments in a few lines: how they ended, the best and the worst of them."""
    if not items:
        return ()
    ends: dict[str, int] = {}
    for item in items:
        name = item.failure or item.status
        ends[name] = ends.get(name, 0) + 1
    counted = ", ".join(f"{n} {name}" for name, n in sorted(ends.items(), key=lambda e: -e[1]))
    lines = [f"Before those below, {len(items)} ended: {counted}."]
    ranked = sorted(
        (item for item in items if item.improvement_percent is not None),
        key=lambda item: -(item.improvement_percent or 0.0),
    )
    for title, chosen in (("Best", ranked[:4]), ("Worst", ranked[4:][-3:])):
        lines += [f"{title}: {_in_one_line(item)}" for item in chosen]
    return tuple(lines)


def _in_one_line(item: HistoryItem) -> str:
    return f"{_describe(item).splitlines()[0]}; {_flat(item.hypothesis, 160)}"


def _flat(text: str, limit: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[:limit] + "…"
