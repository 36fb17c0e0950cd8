"""Status panel of a run, for the live display and for ``status``."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evocodec.cli.display.lines import STATUS_WORDS, LineStyle, describe
from evocodec.cli.render.text import sanitize, shorten, sparkline, versus_hevc
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.events import Event
from evocodec.domain.results import HEVC_BITRATE_MBPS
from evocodec.domain.vocabulary import Proposer, RunPhase
from evocodec.formatting import amount, duration, money, number, percent, plural
from evocodec.views.progress import CandidateStep, Snapshot
from evocodec.views.run import RunView

BAR_CELLS: Final = 10
WIDE: Final = 100  # from here on there is room for hypotheses
FIXED_LINES: Final = 14  # what the picture needs besides rows in flight and recent outcomes
MOST_RECENT: Final = 6


def status_panel(
    snapshot: Snapshot, *, corner: Text, hint: Text, width: int, height: int
) -> RenderableType:
    """Return the run at one moment, fitted to the terminal.

    ``corner`` is shown at the top right; ``hint`` is the last line, or lines.
    """
    room = max(height - FIXED_LINES, 4)
    steps = snapshot.steps[: max(room - 3, 2)]
    recent = snapshot.recent[-max(min(room - len(steps), MOST_RECENT), 1) :]
    blocks: list[RenderableType] = [
        Text(),
        *_header(snapshot.run, corner, width),
        Text(),
        *_standing(snapshot.run, width),
        Text(),
        _in_flight(steps, width),
    ]
    hidden = len(snapshot.steps) - len(steps)
    if hidden:
        blocks.append(Text(f"  … and {hidden} more in flight", style="dim"))
    if recent:
        blocks += [Text(), *_recent(recent, width)]
    footer = (cut(Text(f"  {label}", style="dim"), width) for label in count_lines(snapshot.run))
    return Group(*blocks, Text(), *footer, *(cut(line, width) for line in hint.split("\n")))


def message_text(run: RunView) -> str:
    """Return why a run stopped, where that says more than its outcome."""
    return "" if run.message == "stopped on request" else sanitize(run.message)


def proposer_text(run: RunView) -> str:
    """Return the proposer as text: the mutation proposer is not a language model."""
    if run.proposer is Proposer.MUTATION:
        return "mutation proposer, no language model"
    return sanitize(f"{run.proposer or ''} {run.settings.get('model.model', '')}".strip())


def count_lines(run: RunView) -> Iterator[str]:
    """Return outcomes, tasks and retries in one line, and what a model used in another."""
    ended = [status for status in CandidateStatus if status is not CandidateStatus.RUNNING]
    counts = [(run.counts.get(status, 0), STATUS_WORDS[status][0]) for status in ended]
    named = ", ".join(f"{count} {word}" for count, word in counts)
    parts = [f"{sum(count for count, _ in counts)} done: {named}", plural(run.points, "task")]
    if run.retries:
        parts.append("1 retry" if run.retries == 1 else f"{run.retries} retries")
    yield " · ".join(parts)
    if run.model_calls:
        tokens = f"{amount(run.prompt_tokens)} + {amount(run.completion_tokens)} tokens"
        cost = f" · {money(run.cost_usd)}" if run.cost_usd else ""
        yield f"{plural(run.model_calls, 'model call')} · {tokens}{cost}"


def _header(run: RunView, corner: Text, width: int) -> Iterator[RenderableType]:
    title = Text("  ")
    title.append("evocodec ", style="bold")
    title.append(sanitize(run.run_id))
    title.append(f"  {proposer_text(run)}", style="dim")
    yield _both_ends(title, corner, width)
    places = [f"clips {', '.join(run.clips)}"]
    dashboard = run.dashboard_url
    if dashboard and run.state is RunPhase.RUNNING:
        places.append(f"Ray dashboard {dashboard}")
    if run.clips:
        yield cut(Text(f"  {sanitize(' · '.join(places))}", style="dim"), width)
    if run.notice and run.state is RunPhase.RUNNING:
        yield cut(Text(f"  {sanitize(run.notice)}", style="dim"), width)
    if message_text(run):
        yield cut(Text(f"  {message_text(run)}", style=str(LineStyle.WARN)), width)
    if run.unsafe:
        yield Text("  isolation is below the floor: --unsafe", style=str(LineStyle.WARN))


def _standing(run: RunView, width: int) -> Iterator[RenderableType]:
    """The version to beat and the best so far, against HEVC at equal quality."""
    line = Text("  champion  ", style="dim")
    leader = run.version_to_beat
    if leader is None:
        line.append("none yet", style="default not dim")
    else:
        line.append(f"{sanitize(leader[0]):<8}", style="bold green not dim")
        _append_rate(line, leader[1])
        held_out = run.versions[-1].held_out_bitrate_mbps if run.versions else None
        if held_out is not None:
            line.append(f", {number(held_out)} on held-out clips", style="not dim")
    yield cut(line, width)
    best = run.best
    if best is not None and best.score is not None and best.adoption is None and leader is None:
        line = Text("  best      ", style="dim")
        line.append(f"{best.candidate_id:<8}", style="bold not dim")
        _append_rate(line, best.score.bitrate_mbps)
        yield cut(line, width)
    if run.versions:
        yield cut(_path(run), width)


def _append_rate(line: Text, bitrate_mbps: float | None) -> None:
    label = f"{number(bitrate_mbps)} Mbit/s at equal quality"
    line.append(f"{label}  {percent(versus_hevc(bitrate_mbps))} vs HEVC", style="default not dim")


def _path(run: RunView) -> Text:
    shown = run.versions[-4:]
    names = [f"{v.tag} {number(v.bitrate_mbps)}{_unseen(v.held_out_bitrate_mbps)}" for v in shown]
    start = f"HEVC {HEVC_BITRATE_MBPS:.2f} → " if len(shown) == len(run.versions) else "… → "
    rates = [v.bitrate_mbps for v in run.versions if v.bitrate_mbps is not None]
    line = Text("  versions  ", style="dim")
    line.append(start + " → ".join(names), style="default not dim")
    line.append(f"  {sparkline([10.0, *rates])}", style="cyan not dim")
    return line


def _unseen(held_out_bitrate_mbps: float | None) -> str:
    return "" if held_out_bitrate_mbps is None else f" ({number(held_out_bitrate_mbps)} held-out)"


def _in_flight(steps: Sequence[CandidateStep], width: int) -> RenderableType:
    if not steps:
        return Text("  nothing in flight", style="dim")
    table = Table.grid(padding=(0, 2))
    table.add_column(width=8, no_wrap=True)
    table.add_column(width=32, no_wrap=True, overflow="ellipsis")
    table.add_column(width=BAR_CELLS, no_wrap=True)
    table.add_column(width=7, justify="right", no_wrap=True)
    if width >= WIDE:
        table.add_column(no_wrap=True, overflow="ellipsis")
    for step in steps:
        cells: list[RenderableType] = [
            Text(f"  {step.candidate.candidate_id}", style="bold"),
            Text(step.label),
            _bar(step.fraction),
            Text(duration(step.seconds), style="dim"),
        ]
        if width >= WIDE:
            cells.append(Text(shorten(step.candidate.hypothesis, width - 67), style="dim"))
        table.add_row(*cells)
    return table


def _bar(fraction: float | None) -> Text:
    if fraction is None:
        return Text()
    full = round(fraction * BAR_CELLS)
    bar = Text("━" * full, style="cyan")
    bar.append("━" * (BAR_CELLS - full), style="bright_black")
    return bar


def _recent(events: Sequence[Event], width: int) -> Iterator[RenderableType]:
    for event in reversed(events):
        text = Text("  ")
        text.append_text(describe(event).render())
        yield cut(text, width)


def _both_ends(left: Text, right: Text, width: int) -> Text:
    """Put one text at each end of a line; the left one gives way."""
    line = left.copy()
    line.truncate(max(width - right.cell_len - 3, 10), overflow="ellipsis", pad=True)
    line.append("  ")
    line.append_text(right)
    return line


def cut(text: Text, width: int) -> Text:
    """Shorten a line to the terminal, so that the picture keeps its height."""
    text.truncate(width - 1, overflow="ellipsis")
    return text
