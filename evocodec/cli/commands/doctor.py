"""``evocodec doctor``: what this machine can and cannot do."""

from typing import Final

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload.run import check_payload
from evocodec.cli.render.tables import facts
from evocodec.cli.render.text import clean
from evocodec.cli.session import Session
from evocodec.formatting import plural

MARKS: Final = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


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
        rows: list[tuple[str, Text]] = []
        for check in checks:
            mark, style = MARKS[check.state]
            line = Text(f"{mark} ", style=style)
            line.append(clean(check.detail), style="default")
            if check.fix:
                line.append(f"\n  → {clean(check.fix)}", style="dim")
            rows.append((check.name, line))
        session.show(facts(rows))
        word = f"{plural(len(failed), 'problem')} to solve" if failed else "ready to run"
        session.show(Text(f"\n{word}", style="bold red" if failed else "bold green"))
    if failed:
        raise typer.Exit(ExitCode.FAILED)
