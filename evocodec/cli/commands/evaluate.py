"""``evocodec eval``: measure a program, on the terminal and as reports to pass on."""

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.text import Text

from evocodec.cli.command import Force, command
from evocodec.cli.complete import references
from evocodec.cli.display.plain import PlainDisplay
from evocodec.cli.errors import report as tell_error
from evocodec.cli.errors import without_keys
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload.report import evaluation_payload
from evocodec.cli.render.tables import clips_table
from evocodec.cli.render.tables_report import costs_table, means_table, problems_table
from evocodec.cli.render.text import sanitize, versus_hevc
from evocodec.cli.session import Session
from evocodec.cli.stopping import run_stoppable
from evocodec.domain.errors import ConfigError, EvocodecError, UserError
from evocodec.domain.results import Metric, Score, Track
from evocodec.file_kinds import FileKind
from evocodec.formatting import number, percent, plural, size
from evocodec.output_file import OutputFile, is_stdout

if TYPE_CHECKING:
    from evocodec.app import Laboratory
    from evocodec.report.files import ReportFiles
    from evocodec.report.model import Codec, Report

T = TypeVar("T")

MEASURE = "Measure"
OUTPUT = "Reports"
PREPARING = "starting sandboxes, reading the clips, measuring HEVC on them"

Clips = Annotated[
    list[str] | None,
    typer.Option("--clip", metavar="SPEC", help=r"PATH\[@START-END]\[:WxH]; repeatable"),
]
ClipNames = Annotated[
    list[str] | None, typer.Argument(metavar="[CLIP]…", help="the same as --clip CLIP")
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
    str | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="comparisons as CSV, and rate points in FILE-points",
        rich_help_panel=OUTPUT,
    ),
]
Html = Annotated[
    str | None,
    typer.Option(
        "--html", metavar="FILE", help="a page that opens from disk", rich_help_panel=OUTPUT
    ),
]
Plots = Annotated[
    str | None,
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
            "evocodec eval v2 talk.mp4@0-32:320x180 --anchor svt-av1-p6",
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
    clips: ClipNames = None,
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
    force: Force = False,
) -> None:
    """Measure a program against real encoders at equal quality.

    Nothing is adopted. Exit 4 when the program itself fails.
    """
    require_metrics(metric)
    leave_stdout(session, csv, html)
    flags = measurement_flags([*(clips or ()), *(clip or ())], anchor, track)
    with session.laboratory(flags) as laboratory:
        inputs = (program, *baseline_paths(baseline_file))
        files = checked_files(laboratory, inputs, csv=csv, html=html, plots=plots, force=force)
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
    written, failed = files.write(found.report)
    if session.json:
        session.emit_pretty(evaluation_payload(found, written))
        tell_failed(session, failed)
        return
    session.show(clips_table(found.score))
    show_report(session, found.report)
    summary = _score_text(found.score, found.report.subject)
    session.show(Text(sanitize(found.label), style="bold").append_text(summary))
    show_written(session, written)
    tell_failed(session, failed)


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


def leave_stdout(session: Session, *files: str | None) -> None:
    """Send results to stderr where one of the files is stdout."""
    if any(file is not None and is_stdout(file) for file in files):
        session.leave_stdout()


def baseline_paths(files: list[str] | None) -> list[str]:
    """Return the files of ``[CLIP=]FILE``, in both readings."""
    return [path for text in files or () for path in (text, text.partition("=")[2]) if path]


def checked_files(
    laboratory: "Laboratory",
    inputs: Sequence[str],
    *,
    csv: str | None,
    html: str | None,
    plots: str | None,
    force: bool,
) -> "ReportFiles":
    """Refuse files that cannot be written or would destroy something, before anything is measured.

    ``inputs`` are names that may be files which the command reads.
    """
    from evocodec.app.output_places import OutputPlaces
    from evocodec.report.files import ReportFiles, report_files

    if csv is None and html is None and plots is None:
        return ReportFiles()

    places = OutputPlaces(laboratory)

    def check(name: str, kind: FileKind) -> OutputFile:
        return places.output(name, kind, inputs=inputs, force=force, new_folders=True)

    return report_files(check, csv=csv, html=html, plots=plots)


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


def show_written(session: Session, written: tuple[str, ...]) -> None:
    """Say where the reports are."""
    for path in written:
        session.show(Text(f"wrote {sanitize(path)}", style="dim", no_wrap=True))


def tell_failed(session: Session, error: UserError | None) -> None:
    """End with the error of a report file, after all results were shown; stdout has its JSON."""
    if error is not None:
        raise typer.Exit(tell_error(Session(replace(session.options, json=False)), error))


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


def _score_text(score: Score, subject: "Codec") -> Text:
    rate, held_out = score.bitrate_mbps, subject.held_out_bitrate_mbps
    unseen = "" if held_out is None else f"{number(held_out)} on held-out clips in its run, "
    message = (
        f": {number(rate)} Mbit/s at equal quality ({percent(versus_hevc(rate))} vs HEVC), "
        f"{unseen}"
        f"compression {number(score.compression_ratio, 1)}, "
        f"BD-rate {percent(score.bd_rate_percent)}\n"
        f"encodes {number(score.encode_fps, 1)} and decodes {number(score.decode_fps, 1)} "
        f"frames/s, {size(score.peak_memory_bytes)} of memory at most, "
        f"program {size(score.program_bytes)}"
    )
    return Text(message, style="default not bold")
