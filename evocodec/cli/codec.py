"""``evocodec eval | anchors | encode | decode``: measure a program, and use one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.complete import references
from evocodec.cli.display.plain import PlainDisplay
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload import (
    anchor_payload,
    decode_payload,
    encode_payload,
    evaluation_payload,
)
from evocodec.cli.session import Session
from evocodec.cli.stopping import run_stoppable
from evocodec.cli.tables import anchors_table, clips_table, points_table
from evocodec.cli.text import clean, duration, number, percent, plural, size, versus_hevc
from evocodec.domain.errors import EvocodecError
from evocodec.domain.results import RatePoint, Score

if TYPE_CHECKING:
    from evocodec.app import Laboratory
    from evocodec.app.reports import EvaluationReport

MEASURE = "Measure"
USE = "Use it"

Clips = Annotated[
    list[str] | None,
    typer.Option("--clip", metavar="SPEC", help=r"PATH\[@START-END]\[:WxH]; repeatable"),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    command(
        app,
        "eval",
        panel=MEASURE,
        examples=["evocodec eval my_codec.py", "evocodec eval v2 --clip talk.mp4@0-32:320x180"],
    )(evaluate)
    command(app, "anchors", panel=MEASURE, examples=["evocodec anchors --points"])(anchors)
    command(
        app,
        "encode",
        panel=USE,
        examples=["evocodec encode talk.mp4 talk.evc", "evocodec encode a.mkv a.evc --qp 24"],
    )(encode)
    command(app, "decode", panel=USE, examples=["evocodec decode talk.evc talk.y4m"])(decode)


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
) -> None:
    """Measure a program against HEVC at equal quality.

    Nothing is adopted. Exit 4 when the program itself fails.
    """
    with session.laboratory({"evaluation.clips": clip or None}) as laboratory:
        report = _evaluate(session, laboratory, program)
    if session.json:
        session.emit_pretty(evaluation_payload(report))
        return
    session.show(clips_table(report.score))
    session.show(Text(clean(report.label), style="bold").append_text(_score_words(report.score)))


def _evaluate(session: Session, laboratory: "Laboratory", program: str) -> "EvaluationReport":
    """Measure while showing every task on stderr; Ctrl-C ends it in order."""
    stop = threading.Event()
    display = PlainDisplay(session.err, everything=True)
    listeners = [] if session.json else [display.on_event]

    def work() -> "EvaluationReport":
        return laboratory.evaluate(program, listeners=listeners, stop=stop)

    def on_stop() -> None:
        display.notice("stopping")

    try:
        with nullcontext() if session.json else display:
            return run_stoppable(work, stop=stop, on_stop=on_stop)
    except EvocodecError:
        if stop.is_set():
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        raise


def _score_words(score: Score) -> Text:
    rate = score.bitrate_mbps
    words = (
        f": {number(rate)} Mbit/s at equal quality ({percent(versus_hevc(rate))} vs HEVC), "
        f"compression {number(score.compression_ratio, 1)}, "
        f"BD-rate {percent(score.bd_rate_percent)}\n"
        f"encodes {number(score.encode_fps, 1)} and decodes {number(score.decode_fps, 1)} "
        f"frames/s, {size(score.peak_memory_bytes)} of memory at most, "
        f"program {size(score.program_bytes)}"
    )
    return Text(words, style="default not bold")


@contextmanager
def _working(session: Session, words: str) -> Iterator[None]:
    """Show that something is being done, on a terminal."""
    if session.json or not session.live:
        yield
        return
    with session.err.status(Text(words), spinner="dots"):
        yield


def anchors(
    session: Session,
    clip: Clips = None,
    points: Annotated[bool, typer.Option("--points", help="every rate point too")] = False,
) -> None:
    """Show HEVC on every clip, what all are compared with.

    HEVC is x265 medium with B-frames, tuned for PSNR, as a raw elementary stream.
    """
    done: list[RatePoint] = []
    with (
        session.laboratory({"evaluation.clips": clip or None}) as laboratory,
        _working(session, "measuring HEVC"),
    ):
        reports = laboratory.anchors(on_point=done.append)
    if session.json:
        session.emit_pretty({"anchors": [anchor_payload(report) for report in reports]})
        return
    session.show(anchors_table(reports))
    if points:
        for report in reports:
            session.show(Text(clean(report.curve.clip), style="bold"))
            session.show(points_table(report.curve))
    note = f"{plural(len(done), 'encode')} made now" if done else "all from the cache"
    session.show(Text(f"10 Mbit/s for 1080p30, or the same bits a pixel · {note}", style="dim"))


def encode(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="IN", help=r"a video; PATH\[@START-END]\[:WxH]")],
    output: Annotated[Path, typer.Argument(metavar="OUT.evc")],
    version: Annotated[
        str, typer.Option(help="v3, current, c0007 or a file", autocompletion=references)
    ] = "current",
    qp: Annotated[float, typer.Option(help="0 best … 63 smallest")] = 30.0,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="decode again and measure PSNR")
    ] = True,
) -> None:
    """Encode a video into an .evc file with a version.

    The version runs in the same sandbox as every candidate.
    """
    with (
        session.laboratory() as laboratory,
        _working(session, f"encoding {clean(source)}"),
    ):
        report = laboratory.encode(Path(source), output, version=version, qp=qp, verify=verify)
    if session.json:
        session.emit_pretty(encode_payload(report))
        return
    quality = "" if report.psnr_y_db is None else f", PSNR-Y {number(report.psnr_y_db)} dB"
    session.show(
        Text(
            f"{report.output}: {plural(report.frames, 'frame')} in {size(report.bits / 8)}, "
            f"{report.bitrate_kbps:.0f} kbit/s, {number(report.compression_ratio, 1)} : 1{quality}"
        )
    )
    session.show(
        Text(f"written by {clean(report.writer)} in {duration(report.seconds)}", style="dim")
    )


def decode(
    session: Session,
    source: Annotated[Path, typer.Argument(metavar="IN.evc")],
    output: Annotated[Path, typer.Argument(metavar="OUT.y4m")],
) -> None:
    """Decode an .evc file with the version that wrote it."""
    with session.laboratory() as laboratory, _working(session, f"decoding {clean(str(source))}"):
        report = laboratory.decode(source, output)
    if session.json:
        session.emit_pretty(decode_payload(report))
        return
    stream = report.stream
    session.show(
        Text(
            f"{report.output}: {plural(report.frames, 'frame')}, {stream.width}×{stream.height} "
            f"at {float(stream.fps):g} frames/s"
        )
    )
    session.show(
        Text(f"decoded with {clean(report.writer)} in {duration(report.seconds)}", style="dim")
    )
