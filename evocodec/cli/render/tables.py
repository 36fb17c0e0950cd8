"""Tables with aligned numbers and units in their heads."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evocodec.cli.display.lines import STATUS_WORDS, LineStyle
from evocodec.cli.payload.run import estimated_mbps
from evocodec.cli.render.long_table import LongCell, LongTable
from evocodec.cli.render.text import sanitize, shorten, versus_hevc
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.results import RdCurve, Score
from evocodec.domain.vocabulary import VerdictRule
from evocodec.formatting import DASH, number, percent
from evocodec.views.candidate import CandidateView
from evocodec.views.run import RunView, VersionView

Cell = str | Text


def make_table(*heads: str, left: Sequence[int] = (0,), wrapped: Sequence[int] = ()) -> Table:
    """Return an empty table.

    Columns are right-aligned except those numbered in ``left``, and cut where the terminal ends
    except those in ``wrapped``.
    """
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="dim",
        padding=(0, 1, 0, 0),
    )
    for index, head in enumerate(heads):
        table.add_column(
            head,
            justify="left" if index in left else "right",
            no_wrap=index not in wrapped,
            overflow="fold" if index in wrapped else "ellipsis",
        )
    return table


def add(table: Table, *cells: Cell, style: str = "") -> None:
    """Add a row of literal text."""
    row = (cell if isinstance(cell, Text) else Text(sanitize(cell)) for cell in cells)
    table.add_row(*row, style=style)


def spaced(table: Table) -> RenderableType:
    """Return the table with an empty line above and below."""
    return Padding(table, (1, 0), expand=False)


def versions_table(versions: Iterable[VersionView]) -> RenderableType:
    """Return a run's versions against HEVC and against each other, at equal quality."""
    table = make_table(
        "version",
        "from",
        "Mbit/s",
        "held-out",
        "vs HEVC",
        "gain",
        "ratio",
        "BD-rate",
        "enc/dec fps",
        "commit",
        left=(0, 1, 9),
    )
    for version in versions:
        add(
            table,
            Text(version.tag, style="bold green"),
            version.candidate_id,
            number(version.bitrate_mbps),
            number(version.held_out_bitrate_mbps),
            percent(versus_hevc(version.bitrate_mbps)),
            percent(version.improvement_percent),
            number(version.compression_ratio, 1),
            percent(version.bd_rate_percent),
            f"{number(version.encode_fps, 1)}/{number(version.decode_fps, 1)}",
            version.commit[:8],
        )
    return spaced(table)


def candidates_table(
    candidates: Iterable[CandidateView], run: RunView, *, width: int
) -> RenderableType:
    """Return one row per candidate: how it ended, its numbers, and what was tried or why not."""
    heads = (
        LongCell("candidate"),
        LongCell("outcome"),
        LongCell("Mbit/s", right=True),
        LongCell("held-out", right=True),
        LongCell("gain", right=True),
        LongCell("tried"),
    )
    return LongTable(heads, (_candidate_row(candidate, run, width) for candidate in candidates))


def _candidate_row(candidate: CandidateView, run: RunView, width: int) -> tuple[LongCell, ...]:
    word, style = outcome_text(candidate)
    about = candidate.hypothesis
    if candidate.failure and candidate.status is CandidateStatus.TEST_FAILED:
        about = f"{candidate.failure.kind}: {candidate.failure.message}"
    return (
        LongCell(sanitize(candidate.candidate_id)),
        LongCell(sanitize(word), str(style)),
        LongCell(bitrate_text(candidate, run), right=True),
        LongCell(number(candidate.held_out_bitrate_mbps), right=True),
        LongCell(gain_text(candidate), right=True),
        LongCell(shorten(about, max(width - 58, 24))),
    )


def outcome_text(candidate: CandidateView) -> tuple[str, LineStyle]:
    """Return how a candidate ended, or what it is doing."""
    verdict = candidate.verdict
    if verdict is not None and verdict.rule is VerdictRule.BASELINE:
        return f"baseline ({sanitize(verdict.compared_with)})", LineStyle.PLAIN
    if candidate.adoption is not None:
        return f"adopted as {sanitize(candidate.adoption.tag)}", LineStyle.GOOD
    if candidate.running:
        return candidate.activity, LineStyle.PLAIN
    return STATUS_WORDS[candidate.status]


def bitrate_text(candidate: CandidateView, run: RunView) -> str:
    """Return the measured bitrate, or the screen's estimate marked as one."""
    value = estimated_mbps(candidate, run)
    if value is None:
        return DASH
    return number(value) if candidate.score is not None else f"~{number(value)}"


def gain_text(candidate: CandidateView) -> str:
    """Return how many per cent fewer bits than what it was compared with; more is better."""
    if candidate.improvement_percent is not None:
        return percent(candidate.improvement_percent)
    if candidate.screen is not None:
        return f"~{percent((1 - candidate.screen.rate_ratio) * 100)}"
    return DASH


def clips_table(score: Score) -> RenderableType:
    """Return each clip of an evaluation against HEVC at the operating quality."""
    table = make_table(
        "clip", "bits vs HEVC", "at PSNR-Y", "BD-rate", "ratio", "PSNR-Y range", "points"
    )
    for clip in score.clips:
        low, high = quality_range(clip.curve)
        add(
            table,
            clip.clip,
            percent((clip.rate_ratio - 1) * 100),
            f"{number(clip.operating_psnr_y_db)} dB",
            percent(clip.bd_rate.akima_percent),
            number(clip.compression_ratio, 1),
            f"{number(low, 1)} {DASH} {number(high, 1)} dB",
            str(len(clip.curve.points)),
        )
    return spaced(table)


def quality_range(curve: RdCurve) -> tuple[float | None, float | None]:
    """Return the lowest and highest PSNR-Y in dB of a curve."""
    values = [point.quality.psnr_y_db for point in curve.points]
    return min(values, default=None), max(values, default=None)


def facts(rows: Iterable[tuple[str, Cell]]) -> Table:
    """Return names and values, one a line; rows without a value are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        text = value if isinstance(value, Text) else Text(sanitize(value))
        if len(text):
            table.add_row(Text(name), text)
    return table


def commands(rows: Iterable[tuple[str, str]]) -> Text:
    """Return names and what to type, a line each, never broken: they are there to be copied."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    lines = (
        Text(f"{name:<{width}}  ", style="dim").append(f"{sanitize(c)}", "not dim")
        for name, c in rows
    )
    return Text("\n", no_wrap=True).join(lines)
