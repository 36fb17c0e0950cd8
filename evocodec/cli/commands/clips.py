"""``evocodec clips``: named test sets, and what is in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from evocodec.cli.command import Force, command
from evocodec.cli.exits import ExitCode
from evocodec.cli.render.tables import add, make_table, spaced
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session
from evocodec.file_kinds import PNG
from evocodec.formatting import number, plural
from evocodec.output_file import is_stdout

if TYPE_CHECKING:
    from evocodec.app.clip_sets import Verification
    from evocodec.video.test_sets import Entry

PANEL = "Measure"
_SIZES = {"width", "height", "fps", "frames"}

Refs = Annotated[
    list[str] | None, typer.Argument(metavar="@SET[/NAME]…", help="which; none: all of them")
]

group = typer.Typer(
    no_args_is_help=True,
    help=(
        "Named test sets of clips: list, add, remove, verify, describe.\n\n"
        r"A clip is PATH\[@START-END]\[:WxH+X+Y]\[:WxH]: a range of frames with END exclusive, a "
        "crop, and a size to scale to. Raw video needs its format: "
        r"PATH…,raw=WxH,FPS\[,FORMAT\[,tv|pc]], for example film.yuv@0-32,raw=1920x1080,30. PATH "
        "may be s3://BUCKET/KEY.\n\n"
        "Sets lie in clips.toml in the workspace; use them with --clip @SET or --clip @SET/NAME."
    ),
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    command(group, "list", panel=PANEL, examples=["evocodec clips list"])(list_sets)
    command(
        group,
        "add",
        panel=PANEL,
        examples=[
            "evocodec clips add mine talk.mp4@0-64:640x360",
            "evocodec clips add mine film.yuv@0-32,raw=1920x1080,30 --name film",
            "evocodec clips add mine s3://bucket/film.y4m@100-164 --licence CC-BY-4.0",
        ],
    )(add_clip)
    command(group, "remove", panel=PANEL, examples=["evocodec clips remove @mine/film"])(remove)
    command(group, "repair", panel=PANEL, examples=["evocodec clips repair"])(repair)
    command(group, "verify", panel=PANEL, examples=["evocodec clips verify @mine"])(verify)
    command(
        group,
        "describe",
        panel=PANEL,
        examples=["evocodec clips describe @builtin --picture clips.png"],
    )(describe)
    app.add_typer(group, name="clips", rich_help_panel=PANEL)


def list_sets(session: Session) -> None:
    """List the built-in set and those of this workspace."""
    from evocodec.app.clip_sets import built_in_entries, user_test_sets

    with session.laboratory():
        test_sets, built_in = user_test_sets(), built_in_entries()
    entries = (*built_in, *test_sets.entries)
    if session.json:
        rows = [entry_payload(entry) for entry in entries]
        session.emit_pretty({"catalogue": str(test_sets.path), "clips": rows})
        return
    session.show(spaced(_table(entries)))
    note = f"{plural(len(test_sets.entries), 'clip')} in {test_sets.path}; use one with --clip"
    session.show(Text(sanitize(note), style="dim"))


def add_clip(
    session: Session,
    set_name: Annotated[str, typer.Argument(metavar="SET", help="made when it is not there")],
    source: Annotated[str, typer.Argument(metavar="CLIP", help="as --clip takes it")],
    name: Annotated[str, typer.Option(help="what to call it; from the file by default")] = "",
    origin: Annotated[str, typer.Option(help="where the video comes from")] = "",
    licence: Annotated[str, typer.Option(help="under which it may be used")] = "",
    notes: Annotated[str, typer.Option(help="anything else")] = "",
) -> None:
    """Decode a clip, hash its samples, and write it into a set."""
    from evocodec.app import clip_sets

    notices: list[str] = []
    with session.laboratory(), _working(session, f"reading {sanitize(source)}"):
        entry = clip_sets.add_clip(
            set_name,
            source,
            name=name,
            origin=origin,
            licence=licence,
            notes=notes,
            on_notice=notices.append,
        )
    if session.json:
        session.emit_pretty(entry_payload(entry) | {"notices": notices})
        return
    for notice in notices:
        session.err.print(Text(f"note: {sanitize(notice)}", style="yellow"), soft_wrap=True)
    session.show(spaced(_table([entry])))
    session.show(Text(sanitize(f"use it with --clip {entry.full_name}"), style="dim"))


def remove(
    session: Session,
    ref: Annotated[str, typer.Argument(metavar="@SET[/NAME]", help="a clip, or a whole set")],
) -> None:
    """Take a clip or a set out of the catalogue; the videos stay where they are."""
    from evocodec.app.clip_sets import remove_clips

    with session.laboratory():
        gone = remove_clips(ref)
    if session.json:
        session.emit_pretty({"removed": [entry.full_name for entry in gone]})
        return
    if not gone:
        session.show(Text(sanitize(f"removed {ref}, which could not be read")))
        return
    session.show(Text(sanitize("removed " + ", ".join(entry.full_name for entry in gone))))


def repair(session: Session) -> None:
    """Write a damaged clips.toml anew with all clips that can be read; the old file is kept."""
    from evocodec.app.clip_sets import repair_clips

    with session.laboratory():
        done = repair_clips()
    copy = str(done.copy) if done.copy else None
    if session.json:
        kept = [entry.full_name for entry in done.kept]
        session.emit_pretty({"kept": kept, "dropped": done.dropped, "copy": copy})
        return
    if copy is None:
        session.show(Text("there is nothing to repair"))
        return
    message = (
        f"kept {plural(len(done.kept), 'clip')}, left {done.dropped} out; the old file: {copy}"
    )
    session.show(Text(sanitize(message)))


def verify(session: Session, refs: Refs = None) -> None:
    """Decode clips again and compare their hashes; exit 2 when one is not what it was."""
    from evocodec.app.clip_sets import State, verify_clips

    with session.laboratory():
        done = []
        for verification in verify_clips(refs or ()):
            done.append(verification)
            if not session.json:
                _show_verification(session, verification)
    wrong = [verification for verification in done if verification.state is not State.OK]
    if session.json:
        rows = [
            {
                "clip": verification.entry.full_name,
                "state": verification.state,
                "sha256": verification.sha256,
            }
            | ({"detail": sanitize(verification.detail)} if verification.detail else {})
            for verification in done
        ]
        session.emit_pretty({"verified": not wrong, "clips": rows})
    elif not done:
        session.show(Text("there is no set to verify; add a clip with: evocodec clips add"))
    if wrong:
        raise typer.Exit(ExitCode.USAGE)


def describe(
    session: Session,
    refs: Refs = None,
    picture: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="write first, middle and last frames there, as a PNG"),
    ] = None,
    force: Force = False,
) -> None:
    """Show size, rate, declared colours, and detail and motion (SI and TI of ITU-T P.910)."""
    from evocodec.app.clip_sets import describe_clips, sources_of
    from evocodec.app.output_places import OutputPlaces

    if picture is not None and is_stdout(picture):
        session.leave_stdout()
    with session.laboratory() as laboratory, _working(session, "reading clips"):
        output = None
        if picture:
            inputs = [source.path for ref in refs or () for source in sources_of(ref)]
            output = OutputPlaces(laboratory).output(picture, PNG, inputs=inputs, force=force)
        entries = describe_clips(refs or (), picture=output)
    if session.json:
        rows = [entry_payload(entry) for entry in entries]
        session.emit_pretty({"clips": rows} | ({"picture": picture} if picture else {}))
        return
    session.show(spaced(_table(entries)))
    for entry in entries:
        message = "; ".join(text for text in (entry.origin, entry.licence, entry.notes) if text)
        line = Text(sanitize(entry.full_name), style="bold")
        line.append(f" {entry.sha256} ", style="not bold dim")
        line.append(sanitize(message), style="not bold dim")
        session.show(line, soft_wrap=True)
    if picture is not None:
        session.show(Text(sanitize(f"picture: {picture}")))


def entry_payload(entry: "Entry") -> dict[str, Any]:
    """Return an entry for JSON; what is not known is left out."""
    known = {
        name: value
        for name, value in asdict(entry).items()
        if value not in ("", 0, "0") or (name in _SIZES and entry.sha256)
    }
    return {"clip": entry.full_name, **known}


def _table(entries: "tuple[Entry, ...] | list[Entry]") -> Table:
    table = make_table(
        "clip", "size", "frames/s", "frames", "seconds", "SI", "TI", "declared", left=(0, 7)
    )
    for entry in entries:
        fps = Fraction(entry.fps)
        said = (entry.pixel_format, entry.colour_range, entry.matrix)
        known = bool(entry.width)
        add(
            table,
            entry.full_name,
            f"{entry.width}×{entry.height}" if known else "–",
            f"{float(fps):g}"[:6] if known else "–",
            str(entry.frames) if entry.frames else "–",
            number(entry.frames / float(fps)) if fps else "–",
            number(entry.spatial, 1) if known else "–",
            number(entry.temporal, 1) if known else "–",
            " ".join(part for part in said if part),
        )
    return table


def _show_verification(session: Session, verification: "Verification") -> None:
    style = {"ok": "green"}.get(verification.state, "bold red")
    line = Text(f"{verification.state:<8}", style=style)
    line.append(sanitize(verification.entry.full_name), style="default not bold")
    if verification.detail:
        line.append(sanitize(f": {verification.detail}"), style="not bold dim")
    session.show(line, soft_wrap=True)


@contextmanager
def _working(session: Session, message: str) -> Iterator[None]:
    if session.json or not session.live:
        yield
        return
    with session.err.status(Text(message), spinner="dots"):
        yield
