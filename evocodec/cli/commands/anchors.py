"""``evocodec anchors``: what real encoders need for the same clips."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.text import Text

from evocodec.cli.command import Force, command
from evocodec.cli.commands.evaluate import ClipNames, baseline_paths, leave_stdout
from evocodec.cli.display.anchoring import AnchorProgress
from evocodec.cli.payload.anchors import COLUMNS, anchor_payload, anchors_csv
from evocodec.cli.render.tables import commands as commands_text
from evocodec.cli.render.tables_anchors import (
    anchors_table,
    by_clip,
    clip_title,
    means_table,
    points_table,
    problems,
)
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session
from evocodec.domain.errors import ConfigError
from evocodec.domain.results import Metric, RdCurve, Track
from evocodec.file_kinds import PNG, csv_kind
from evocodec.formatting import plural
from evocodec.output_file import OutputFile, require_different

if TYPE_CHECKING:
    from evocodec.app import Laboratory
    from evocodec.app.outputs import AnchorReport

MEASURE = "Measure"
OUTPUT = "Reports"

Clips = Annotated[
    list[str] | None,
    typer.Option(
        "--clip",
        metavar="SPEC",
        help=r"PATH\[@START-END]\[:WxH], s3:// too; @SET, @SET/NAME or a clip's name; repeatable; "
        "raw video: PATH,raw=WxH,FPS (see `evocodec clips --help`)",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "anchors",
        panel=MEASURE,
        examples=[
            "evocodec anchors talk.mp4@0-64:480x270 --plot talk.png",
            "evocodec anchors --anchor svt-av1-p6 --metric psnr_y --metric vmaf",
            "evocodec anchors --track low_delay --anchor x265-veryslow --commands",
            "evocodec anchors --clip talk.y4m --baseline-file mine.mp4",
        ],
    )(anchors)


def anchors(
    session: Session,
    clips: ClipNames = None,
    clip: Clips = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor",
            metavar="NAME",
            help="this encoder besides x265-medium; repeatable; all unless given",
        ),
    ] = None,
    track: Annotated[
        Track | None, typer.Option("--track", help="with or without a view of the future")
    ] = None,
    metric: Annotated[
        list[Metric] | None,
        typer.Option("--metric", help="BD-rate over this; repeatable; PSNR-Y unless given"),
    ] = None,
    baseline_file: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline-file",
            metavar="[CLIP=]PATH",
            help="your own encode of the clip: HEVC, AVC, AV1 or VVC, raw, MP4 or MKV, here or "
            "s3://; repeatable, several make a curve",
        ),
    ] = None,
    points: Annotated[bool, typer.Option("--points", help="every rate point too")] = False,
    commands: Annotated[
        bool, typer.Option("--commands", help="the exact command of every anchor")
    ] = False,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="measure again what is cached: costs of one hour")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", min=0, max=64, help="encoders at a time; 0: the processors")
    ] = 0,
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="FILE.png", help="RD curves", rich_help_panel=OUTPUT),
    ] = None,
    csv: Annotated[
        str | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="a row for each clip, anchor and metric",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Show what real encoders need for every clip, beside x265 medium.

    All are raw elementary streams of one intra picture, tuned for PSNR, decoded and measured like
    a program. What was measured before comes from the cache.
    """
    from evocodec.app.anchor_table import AnchorsRequest, measure_anchors

    leave_stdout(session, plot, csv)
    metrics = tuple(dict.fromkeys(metric or (Metric.PSNR_Y,)))
    flags = {
        "evaluation.clips": [*(clips or ()), *(clip or ())] or None,
        "evaluation.anchors": anchor or None,
        "evaluation.track": track.value if track else None,
    }
    request = AnchorsRequest(metrics, tuple(baseline_file or ()), jobs, repeat)
    progress = AnchorProgress(session.err, live=session.live, quiet=session.json)
    with session.laboratory(flags) as laboratory, progress:
        inputs = baseline_paths(baseline_file)
        table, picture = _outputs(laboratory, inputs, csv=csv, plot=plot, force=force)
        reports = measure_anchors(
            laboratory.settings,
            laboratory.workspace.cache,
            request,
            on_plan=progress.on_plan,
            on_event=progress.on_event,
        )
    if table is not None:
        table.write(anchors_csv(reports))
    if picture is not None:
        with picture.writing() as file:
            _draw(reports, file)
    if session.json:
        session.emit_pretty({"anchors": [anchor_payload(report) for report in reports]})
        return
    _show(session, reports, metrics, points=points)
    if commands:
        named = {report.curve.codec: report.command for report in reports if report.command}
        session.show(commands_text(named.items()))
    made = progress.encodes
    note = f"{plural(made, 'encode')} made now" if made else "all from the cache"
    for name in (plot, csv):
        note += f" · wrote {sanitize(name)}" if name is not None else ""
    session.show(Text(f"10 Mbit/s for 1080p30, or the same bits a pixel · {note}", style="dim"))


def _show(
    session: Session,
    reports: "Sequence[AnchorReport]",
    metrics: Sequence[Metric],
    *,
    points: bool,
) -> None:
    clips = by_clip(reports)
    for found in clips.values():
        session.show(clip_title(found[0]))
        session.show(anchors_table(found, metrics))
        if points:
            for report in found:
                session.show(
                    Text(sanitize(f"{report.curve.clip}, {report.curve.codec}"), style="bold")
                )
                session.show(points_table(report.curve, "rate" if report.command else "file"))
    if len(clips) > 1 and len(reports) > len(clips):
        for metric in metrics:
            session.show(means_table(clips, metric))
    for line in problems(reports, metrics):
        session.show(Text(sanitize(line), style="yellow"))


def _outputs(
    laboratory: "Laboratory",
    inputs: Sequence[str],
    *,
    csv: str | None,
    plot: str | None,
    force: bool,
) -> tuple[OutputFile | None, OutputFile | None]:
    from evocodec.app.output_places import OutputPlaces

    places = OutputPlaces(laboratory)
    table = picture = None
    if csv is not None:
        table = places.output(csv, csv_kind(COLUMNS), inputs=inputs, force=force)
    if plot is not None:
        picture = places.output(plot, PNG, inputs=inputs, force=force)
        if not picture.is_stream and not plot.lower().endswith(".png"):
            message = f"--plot writes a PNG: {plot} should end in .png"
            raise ConfigError(message)
    require_different([each for each in (table, picture) if each is not None])
    return table, picture


def _draw(reports: "Sequence[AnchorReport]", file: BinaryIO) -> None:
    from evocodec.report.rd_plot import plot_rd

    primaries = {report.curve.clip: report for report in reports if report.is_primary}
    curves: dict[str, dict[str, RdCurve]] = {}
    for report in reports:
        if not report.is_primary and report.curve.points:
            curves.setdefault(report.curve.codec, {})[report.curve.clip] = report.curve
    plot_rd(
        anchors={name: report.curve for name, report in primaries.items()},
        curves=curves,
        streams={name: report.stream for name, report in primaries.items()},
        title="Rate–distortion of the anchors",
        png=file,
    )
