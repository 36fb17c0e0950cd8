"""``brief`` and ``submit``: for people and coding agents outside of a run."""

from typing import Annotated

import typer

from evocodec.cli.command import command
from evocodec.cli.commands.run import finish, watch
from evocodec.cli.session import Session

PANEL = "Evolve"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    command(
        app,
        "brief",
        panel=PANEL,
        examples=["evocodec brief > brief.md", "evocodec brief --json"],
    )(brief)
    command(
        app,
        "submit",
        panel=PANEL,
        examples=[
            'evocodec submit codec.py --note "quarter-pel motion"',
            "evocodec submit codec.py --plain",
        ],
    )(submit)


def brief(session: Session) -> None:
    """Print what a coder would be told now, as Markdown."""
    with session.laboratory() as laboratory:
        text = laboratory.brief()
    if session.json:
        session.emit({"brief": text})
    else:
        typer.echo(text)


def submit(
    session: Session,
    program: Annotated[str, typer.Argument(metavar="FILE", help="a program, written elsewhere")],
    note: Annotated[str, typer.Option(help="what is new in it, and why it should help")] = "",
    plain: Annotated[bool, typer.Option("--plain", help="lines instead of a live picture")] = False,
) -> None:
    """Review, measure and judge a program from outside; adopt it when it is better.

    The current version is measured first, on the same clips: that is what it has to beat.
    """
    settings = session.settings()
    hypothesis = note or f"{program}, submitted without a note."
    view, places = watch(
        session,
        settings,
        lambda laboratory, watching: laboratory.submit(
            program, hypothesis, listeners=watching.listeners, stop=watching.stop
        ),
        plain=plain,
    )
    finish(session, settings, view, places)
