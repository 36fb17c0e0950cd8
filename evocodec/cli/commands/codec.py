"""``evocodec encode | decode``: code a file with an adopted version."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from evocodec.cli.command import Force, command
from evocodec.cli.complete import references
from evocodec.cli.payload.run import decode_payload, decode_plan_payload, encode_payload
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session
from evocodec.codec.contract import USUAL_QP
from evocodec.formatting import duration, number, parse_size, plural, size
from evocodec.output_file import is_stdout

if TYPE_CHECKING:
    from evocodec.app.file_codec import OnProgress

USE = "Use it"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    command(
        app,
        "encode",
        panel=USE,
        examples=["evocodec encode talk.mp4 talk.evc", "evocodec encode a.mkv a.evc --qp 24"],
    )(encode)
    command(app, "decode", panel=USE, examples=["evocodec decode talk.evc talk.y4m"])(decode)


@contextmanager
def _working(session: Session, message: str) -> Iterator[None]:
    """Show that something is being done, on a terminal."""
    if session.json or not session.live:
        yield
        return
    with session.err.status(Text(message), spinner="dots"):
        yield


def encode(
    session: Session,
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help=r"a video, here or s3://; PATH\[@START-END]\[:WxH], @SET/NAME"
        ),
    ],
    output: Annotated[
        str, typer.Argument(metavar="OUT.evc", help="a file, s3://BUCKET/KEY, or - for stdout")
    ],
    version: Annotated[
        str, typer.Option(help="v3, current, c0007 or a file", autocompletion=references)
    ] = "current",
    qp: Annotated[float, typer.Option(help="0 best … 63 smallest")] = USUAL_QP,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="decode again and measure PSNR")
    ] = True,
    force: Force = False,
) -> None:
    """Encode a video into an .evc file with a version.

    The version runs in the same sandbox as every candidate. Videos of any length: memory does not
    grow with it.
    """
    if is_stdout(output):
        session.leave_stdout()
    with (
        session.laboratory() as laboratory,
        _interruptible(),
        _progress(session) as on_progress,
    ):
        from evocodec.app.file_codec import encode_file

        report = encode_file(
            laboratory,
            source,
            output,
            version=version,
            qp=qp,
            verify=verify,
            force=force,
            on_progress=on_progress,
        )
    if session.json:
        session.emit_pretty(encode_payload(report))
        return
    for notice in report.notices:
        session.err.print(Text(f"note: {sanitize(notice)}", style="yellow"), soft_wrap=True)
    quality = "" if report.psnr_y_db is None else f", PSNR-Y {number(report.psnr_y_db)} dB"
    session.show(
        Text(
            f"{sanitize(report.output)}: {plural(report.frames, 'frame')} in "
            f"{size(report.bits / 8)}, "
            f"{report.bitrate_kbps:.0f} kbit/s, {number(report.compression_ratio, 1)} : 1{quality}"
        )
    )
    session.show(
        Text(f"written by {sanitize(report.writer)} in {duration(report.seconds)}", style="dim")
    )


def decode(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="IN.evc", help="a file, or s3://BUCKET/KEY")],
    output: Annotated[
        str, typer.Argument(metavar="OUT.y4m", help="a file, s3://BUCKET/KEY, or - for stdout")
    ],
    max_bytes: Annotated[
        str,
        typer.Option(
            metavar="SIZE", help="most that may be written: 500MB, 8GiB; data.max_decode_mib"
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be written, and stop")
    ] = False,
    force: Force = False,
) -> None:
    """Decode an .evc file with the version that wrote it.

    The file may come from anyone: its version must be one of yours, and the size of the output is
    shown and checked first.
    """
    limit = parse_size(max_bytes) if max_bytes else None
    if is_stdout(output) and not dry_run:
        session.leave_stdout()
    with (
        session.laboratory() as laboratory,
        _interruptible(),
        _progress(session) as on_progress,
    ):
        from evocodec.app.file_codec import decode_file, plan_decoding

        plan = plan_decoding(laboratory, source, output, max_bytes=limit, force=force)
        if dry_run and session.json:
            session.emit_pretty(decode_plan_payload(plan))
            return
        session.err.print(
            Text(
                f"{sanitize(plan.source)}: {plural(plan.stream.frame_count, 'frame')}, "
                f"{plan.stream.width}×{plan.stream.height}, written by {sanitize(plan.writer)}; "
                f"decoding writes {plan.output_bytes} bytes ({size(plan.output_bytes)}) "
                f"to {sanitize(plan.output)}"
            ),
            soft_wrap=True,
        )
        if dry_run:
            return
        report = decode_file(
            laboratory, source, output, max_bytes=limit, force=force, on_progress=on_progress
        )
    if session.json:
        session.emit_pretty(decode_payload(report))
        return
    stream = report.stream
    session.show(
        Text(
            f"{sanitize(report.output)}: {plural(report.frames, 'frame')}, "
            f"{stream.width}×{stream.height} at {float(stream.fps):g} frames/s"
        )
    )
    session.show(
        Text(f"decoded with {sanitize(report.writer)} in {duration(report.seconds)}", style="dim")
    )


@contextmanager
def _progress(session: Session) -> Iterator["OnProgress"]:
    """Show frames, frames/s and the time that is left, on a terminal."""
    if session.json or not session.live:
        yield lambda _what, _done, _of: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=session.err, transient=True) as progress:
        task = progress.add_task("starting", total=None, rate="")
        began: dict[str, float] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in began:
                began[what] = time.monotonic()
                progress.reset(task, total=total or None, description=what, rate="")
            seconds = time.monotonic() - began[what]
            rate = f"{done / seconds:.1f} frames/s" if done > 1 and seconds > 0 else ""
            progress.update(task, completed=done, rate=rate)

        yield on_progress


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does: in order, without leaving a partial file."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
