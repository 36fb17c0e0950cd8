"""``evocodec eval``: measure a program, on the terminal and as reports to pass on."""

import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.complete import references
from evocodec.cli.display.plain import PlainDisplay
from evocodec.cli.errors import without_keys
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload.report import evaluation_payload
from evocodec.cli.render.tables import clips_table
from evocodec.cli.render.tables_report import costs_table, means_table, problems_table
from evocodec.cli.render.text import sanitize, versus_hevc
from evocodec.cli.session import Session
from evocodec.cli.stopping import run_stoppable
from evocodec.domain.errors import ConfigError, EvocodecError
from evocodec.domain.results import Metric, Score, Track
from evocodec.formatting import number, percent, plural, size

if TYPE_CHECKING:
    from evocodec.report.model import Report

T = TypeVar("T")

MEASURE = "Measure"
OUTPUT = "Reports"
PREPARING = "starting sandboxes, reading the clips, measuring HEVC on them"

Clips = Annotated[
    list[str] | None,
    typer.Option("--clip", metavar="SPEC", help=r"PATH\[@START-END]\[:WxH]; repeatable"),
]
Anchors = Annotated[
    list[str] | None,
    typer.Option(
        "--anchor",
        metavar="NAME",
        help="compare with this encoder besides x265-medium; repeatable; all unless given",
    ),
]
TrackOption = Annotated[
    Track | None, typer.Option("--track", help="which coding structure the anchors have")
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="NAME", help="only this metric; repeatable"),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="comparisons as CSV, and rate points in FILE-points",
        rich_help_panel=OUTPUT,
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="a page that opens from disk", rich_help_panel=OUTPUT
    ),
]
Plots = Annotated[
    Path | None,
    typer.Option("--plots", metavar="DIR", help="RD plots as PNG and SVG", rich_help_panel=OUTPUT),
]
Repeat = Annotated[
    bool,
    typer.Option("--repeat", help="measure anchors again, so that costs are of the same hour"),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "eval",
        panel=MEASURE,
        examples=[
            "evocodec eval my_codec.py --html report.html",
            "evocodec eval v2 --clip talk.mp4@0-32:320x180 --anchor svt-av1-p6",
            "evocodec eval inter --metric psnr_y --metric vmaf --csv inter.csv",
        ],
    )(evaluate)


def evaluate(
    session: Session,
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM",
            help="a file, v3, current, c0007, or a built-in name",
            autocompletion=references,
        ),
    ],
    clip: Clips = None,
    anchor: Anchors = None,
    track: TrackOption = None,
    baseline_file: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline-file",
            metavar="\\[CLIP=]FILE",
            help="your own encode of a clip's frames, in any format; repeatable",
        ),
    ] = None,
    metric: Metrics = None,
    csv: Csv = None,
    html: Html = None,
    plots: Plots = None,
    repeat: Repeat = False,
) -> None:
    """Measure a program against real encoders at equal quality.

    Nothing is adopted. Exit 4 when the program itself fails.
    """
    require_metrics(metric)
    check_outputs(csv, html)
    flags = measurement_flags(clip, anchor, track)
    with session.laboratory(flags) as laboratory:
        from evocodec.app.evaluation import evaluate as evaluate_named
        from evocodec.app.evaluation_request import EvaluationRequest

        request = EvaluationRequest(
            metrics=tuple(metric or ()),
            baseline_files=tuple(baseline_file or ()),
            pictures=html is not None,
            repeat=repeat,
            command=typed_command(),
        )
        found = watched(
            session,
            lambda listeners, stop, on_anchor: evaluate_named(
                laboratory, program, request, listeners=listeners, stop=stop, on_anchor=on_anchor
            ),
        )
    written = write_outputs(found.report, csv=csv, html=html, plots=plots)
    if session.json:
        session.emit_pretty(evaluation_payload(found, written))
        return
    session.show(clips_table(found.score))
    show_report(session, found.report)
    session.show(Text(sanitize(found.label), style="bold").append_text(_score_text(found.score)))
    show_written(session, written)


def measurement_flags(
    clip: list[str] | None, anchor: list[str] | None, track: Track | None
) -> dict[str, Any]:
    """Return the settings that the options mean."""
    return {
        "evaluation.clips": clip or None,
        "evaluation.anchors": anchor or None,
        "evaluation.track": track.value if track else None,
    }


def require_metrics(names: list[str] | None) -> None:
    """Refuse a metric that there is not."""
    known = [metric.value for metric in Metric]
    for name in names or ():
        if name not in known:
            message = f"there is no metric called {name!r}; choose among {', '.join(known)}"
            raise ConfigError(message)


def check_outputs(csv: Path | None, html: Path | None) -> None:
    """Refuse files that cannot be written, before anything is measured."""
    wanted = [path for path in (csv, html) if path is not None]
    if wanted:
        from evocodec.report.files import require_writable

        require_writable(wanted)


def write_outputs(
    report: "Report", *, csv: Path | None, html: Path | None, plots: Path | None
) -> tuple[Path, ...]:
    """Write the requested files, and return their paths."""
    written: list[Path] = []
    if csv is not None:
        from evocodec.report.files import write_csv

        written += write_csv(report, csv)
    if plots is not None:
        from evocodec.report.report_plots import write_plots

        written += write_plots(report, plots)
    if html is not None:
        from evocodec.report.files import write_html

        written.append(write_html(report, html))
    return tuple(written)


def show_report(session: Session, report: "Report") -> None:
    """Print means over clips, costs and warnings."""
    from evocodec.report.wording import same_hour

    session.show(means_table(report))
    session.show(costs_table(report))
    for message in same_hour(report):
        session.show(Text(sanitize(message), style="dim"))
    doubtful = sum(found.bd_rate is not None for found in report.problems)
    if len(report.problems) > doubtful:
        session.show(problems_table(report, width=session.out.width))
    if doubtful:
        message = f"{plural(doubtful, 'figure')} to be read with care: --html and --csv say why"
        session.show(Text(message, style="yellow"))
    for notice in report.notices:
        session.show(Text(f"note: {sanitize(notice)}", style="yellow"))


def show_written(session: Session, written: tuple[Path, ...]) -> None:
    """Say where the reports are."""
    for path in written:
        session.show(Text(f"wrote {path}", style="dim", no_wrap=True))


def typed_command() -> tuple[str, ...]:
    """Return the command line as it was typed, with our name for the program."""
    return ("evocodec", *(without_keys(word) for word in sys.argv[1:]))


Work = Callable[[Any, threading.Event, Callable[[str, str, float], None]], T]


def watched(session: Session, work: Work[T]) -> T:
    """Measure while showing every task on stderr; Ctrl-C ends it in order."""
    stop = threading.Event()
    display = PlainDisplay(session.err, everything=True, preparing=PREPARING)
    listeners = [] if session.json else [display.on_event]

    def on_anchor(clip: str, encoder: str, rate: float) -> None:
        if not session.json:
            display.notice(f"{encoder} on {clip} at {rate:g}")

    def on_stop() -> None:
        display.notice("stopping")

    try:
        with nullcontext() if session.json else display:
            return run_stoppable(
                lambda: work(listeners, stop, on_anchor), stop=stop, on_stop=on_stop
            )
    except EvocodecError:
        if stop.is_set():
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        raise


def _score_text(score: Score) -> Text:
    rate = score.bitrate_mbps
    message = (
        f": {number(rate)} Mbit/s at equal quality ({percent(versus_hevc(rate))} vs HEVC), "
        f"compression {number(score.compression_ratio, 1)}, "
        f"BD-rate {percent(score.bd_rate_percent)}\n"
        f"encodes {number(score.encode_fps, 1)} and decodes {number(score.decode_fps, 1)} "
        f"frames/s, {size(score.peak_memory_bytes)} of memory at most, "
        f"program {size(score.program_bytes)}"
    )
    return Text(message, style="default not bold")
