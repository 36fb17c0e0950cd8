"""``evocodec compare A B``: two programs, versions or real encoders at equal quality."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from evocodec.cli.command import Force, command
from evocodec.cli.commands.evaluate import (
    MEASURE,
    ClipNames,
    Clips,
    Csv,
    Html,
    Metrics,
    Plots,
    Repeat,
    TrackOption,
    checked_files,
    leave_stdout,
    measurement_flags,
    require_metrics,
    show_report,
    show_written,
    tell_failed,
    typed_command,
    watched,
)
from evocodec.cli.complete import references
from evocodec.cli.payload.report import report_payload
from evocodec.cli.render.tables_report import comparisons_table
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session
from evocodec.domain.results import Metric
from evocodec.formatting import percent

if TYPE_CHECKING:
    from evocodec.report.model import Report

_HELP = "a file, v3, current, c0007, a built-in name, or an anchor such as svt-av1-p6"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "compare",
        panel=MEASURE,
        examples=[
            "evocodec compare v1 v2 --html v2-against-v1.html",
            "evocodec compare x265-veryslow current talk.mp4@0-32",
        ],
    )(compare)


def compare(
    session: Session,
    a: Annotated[str, typer.Argument(metavar="A", help=_HELP, autocompletion=references)],
    b: Annotated[
        str, typer.Argument(metavar="B", help="compared with A", autocompletion=references)
    ],
    clips: ClipNames = None,
    clip: Clips = None,
    track: TrackOption = None,
    metric: Metrics = None,
    csv: Csv = None,
    html: Html = None,
    plots: Plots = None,
    repeat: Repeat = False,
    force: Force = False,
) -> None:
    """Say how many bits B needs for the quality that A has.

    Exit 4 when one of the programs fails.
    """
    require_metrics(metric)
    leave_stdout(session, csv, html)
    with session.laboratory(
        measurement_flags([*(clips or ()), *(clip or ())], None, track)
    ) as laboratory:
        files = checked_files(laboratory, (a, b), csv=csv, html=html, plots=plots, force=force)
        from evocodec.app.evaluation import compare as compare_named
        from evocodec.app.evaluation_request import EvaluationRequest

        request = EvaluationRequest(
            metrics=tuple(metric or ()),
            pictures=html is not None,
            repeat=repeat,
            command=typed_command(),
        )
        report = watched(
            session,
            lambda listeners, stop, on_anchor: compare_named(
                laboratory, (a, b), request, listeners=listeners, stop=stop, on_anchor=on_anchor
            ),
        )
    written, failed = files.write(report)
    if session.json:
        session.emit_pretty({**report_payload(report), "written": list(written)})
        tell_failed(session, failed)
        return
    session.show(comparisons_table(report))
    show_report(session, report)
    session.show(_summary_line(report))
    show_written(session, written)
    tell_failed(session, failed)


def _summary_line(report: "Report") -> Text:
    mean = report.means.get((report.references[0].name, Metric.PSNR_Y))
    line = Text(sanitize(report.title), style="bold")
    if mean is None:
        return line.append(": no comparison is possible; the reasons are above", "default not bold")
    spread = ""
    if mean.interval is not None:
        level = f"{100 * mean.interval.level:.0f} %"
        ends = f"{percent(mean.interval.low)} … {percent(mean.interval.high)}"
        spread = f" ({ends} with {level} confidence)"
    message = f": {percent(mean.percent)} bits at equal PSNR-Y{spread}"
    return line.append(message, "default not bold")
