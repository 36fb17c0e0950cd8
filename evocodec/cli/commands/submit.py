"""``brief`` and ``submit``: for people and coding agents outside of a run."""

from typing import TYPE_CHECKING, Annotated

import typer

from evocodec.cli.command import command
from evocodec.cli.commands.run import Watching, finish, watch
from evocodec.cli.session import Session
from evocodec.views.run import RunView

if TYPE_CHECKING:
    from evocodec.app import Laboratory

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
    """Print the prompt that a coder would get now, as Markdown."""
    with session.laboratory() as laboratory:
        from evocodec.app.brief import write_brief

        text = write_brief(laboratory)
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

    def execute(laboratory: "Laboratory", watching: Watching) -> RunView:
        from evocodec.app.runs import perform_submission

        return perform_submission(
            laboratory, program, hypothesis, listeners=watching.listeners, stop=watching.stop
        )

    view, output_paths = watch(session, settings, execute, plain=plain)
    finish(session, settings, view, output_paths)
