"""``evocodec pareto``: what a run found, bits against decode time."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from evocodec.cli.command import Force, command
from evocodec.cli.commands.inspect import PANEL
from evocodec.cli.render.tables import add, make_table, spaced
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session
from evocodec.domain.errors import UserError
from evocodec.file_kinds import PNG, SVG
from evocodec.formatting import number, plural
from evocodec.output_file import OutputFile, is_stdout
from evocodec.report.pareto import TradeOff, pareto_front, plot_pareto, trade_off
from evocodec.views.run import RunView

if TYPE_CHECKING:
    from evocodec.app import Laboratory

PLOT_FORMATS = {".png": PNG, ".svg": SVG}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "pareto",
        panel=PANEL,
        examples=["evocodec pareto", "evocodec pareto --run run-20261017-013635 --plot pareto.png"],
    )(pareto)


def pareto(
    session: Session,
    run: Annotated[str | None, typer.Option("--run", help="the newest unless given")] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE", help="draw it: .png or .svg")
    ] = None,
    force: Force = False,
) -> None:
    """List fully evaluated candidates by decode time; * marks those that none beats on both."""
    if plot is not None and is_stdout(plot):
        session.leave_stdout()
    with session.laboratory() as laboratory:
        picture = _picture(laboratory, plot, force=force) if plot is not None else None
        view = laboratory.resolver.view(run)
    points = trade_offs(view)
    if not points:
        message = (
            f"no candidate of {view.run_id} was fully evaluated yet, so there is nothing to set "
            "against decode time; see `evocodec status`"
        )
        raise UserError(message)
    if picture is not None:
        plot_pareto(points, f"{view.run_id}: bits against decode time", picture)
    front = pareto_front(points)
    if session.json:
        session.emit_pretty(
            {
                "run_id": view.run_id,
                "points": [_payload(p, front=p in front) for p in points],
                "plot": plot,
            }
        )
        return
    table = make_table("", "candidate", "BD-rate", "held-out", "decode", "x265's CPU", left=(0, 1))
    for point in points:
        ratio = point.decode_time_ratio
        add(
            table,
            "*" if point in front else "",
            point.label,
            f"{point.bd_rate_percent:+.1f} %",
            number(point.held_out_bitrate_mbps),
            f"{point.decode_ms:.1f} ms/frame",
            f"{ratio:.1f}×" if ratio else "–",
        )
    session.show(spaced(table))
    message = f"{view.run_id}: {len(front)} of {plural(len(points), 'result')} not beaten on both"
    session.show(Text(message + (f"; drawn in {sanitize(plot)}" if plot else ""), style="dim"))


def trade_offs(view: RunView) -> tuple[TradeOff, ...]:
    """Every fully evaluated candidate of a run, quickest decoder first."""
    found = []
    for candidate in view.candidates:
        if candidate.score is None:
            continue
        adoption = candidate.adoption
        label = candidate.candidate_id + (f" ({sanitize(adoption.tag)})" if adoption else "")
        point = trade_off(label, candidate.score, adopted=adoption is not None)
        if point is not None:
            found.append(replace(point, held_out_bitrate_mbps=candidate.held_out_bitrate_mbps))
    return tuple(sorted(found, key=lambda p: (p.decode_ms, p.bd_rate_percent, p.label)))


def _picture(laboratory: "Laboratory", plot: str, *, force: bool) -> OutputFile:
    from evocodec.app.output_places import OutputPlaces

    stem, suffix = os.path.splitext(plot)
    kind = PNG if is_stdout(plot) else PLOT_FORMATS.get(suffix.lower())
    if kind is None:
        message = f"--plot {plot}: a picture ends in .png or .svg; try --plot {stem}.png"
        raise UserError(message)
    return OutputPlaces(laboratory).output(plot, kind, force=force)


def _payload(point: TradeOff, *, front: bool) -> dict[str, object]:
    return {
        "candidate": point.label,
        "bd_rate_percent": point.bd_rate_percent,
        "decode_ms_per_frame": point.decode_ms,
        "decode_time_ratio": point.decode_time_ratio,
        "adopted": point.adopted,
        "held_out_bitrate_mbps": point.held_out_bitrate_mbps,
        "on_front": front,
    }
