"""``evocodec doctor``: what this machine can and cannot do."""

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload.run import check_payload
from evocodec.cli.render.checks import checks_table
from evocodec.cli.session import Session
from evocodec.formatting import plural


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "doctor",
        panel="Look after it",
        examples=["evocodec doctor", "evocodec doctor --json"],
    )(diagnose)


def diagnose(session: Session) -> None:
    """Check this machine, and say what to do.

    Isolation, ffmpeg, git, clips, memory, model. Exit 1 when something fails.
    """
    with session.laboratory() as laboratory:
        checks = laboratory.doctor()
    failed = [check for check in checks if check.state == "fail"]
    if session.json:
        session.emit_pretty({"ok": not failed, "checks": [check_payload(c) for c in checks]})
    else:
        session.show(checks_table(checks))
        word = f"{plural(len(failed), 'problem')} to solve" if failed else "ready to run"
        session.show(Text(f"\n{word}", style="bold red" if failed else "bold green"))
    if failed:
        raise typer.Exit(ExitCode.FAILED)
