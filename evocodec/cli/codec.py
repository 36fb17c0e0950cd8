"""``evocodec anchors | encode | decode``: what programs are measured against, and using one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.complete import references
from evocodec.cli.payload import (
    anchor_payload,
    decode_payload,
    encode_payload,
)
from evocodec.cli.session import Session
from evocodec.cli.tables import anchors_table, points_table
from evocodec.cli.text import clean, duration, number, plural, size
from evocodec.domain.results import RatePoint

MEASURE = "Measure"
USE = "Use it"

Clips = Annotated[
    list[str] | None,
    typer.Option("--clip", metavar="SPEC", help=r"PATH\[@START-END]\[:WxH]; repeatable"),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    command(app, "anchors", panel=MEASURE, examples=["evocodec anchors --points"])(anchors)
    command(
        app,
        "encode",
        panel=USE,
        examples=["evocodec encode talk.mp4 talk.evc", "evocodec encode a.mkv a.evc --qp 24"],
    )(encode)
    command(app, "decode", panel=USE, examples=["evocodec decode talk.evc talk.y4m"])(decode)


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
