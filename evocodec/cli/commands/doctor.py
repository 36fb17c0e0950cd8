"""``evocodec doctor``: what this machine can and cannot do."""

from typing import TYPE_CHECKING

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload.run import check_payload
from evocodec.cli.render.checks import checks_table
from evocodec.cli.session import Session
from evocodec.domain.check import Check
from evocodec.formatting import plural

if TYPE_CHECKING:
    from evocodec.config import Settings


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
        from evocodec.app.doctor import all_checks

        settings = laboratory.settings
        checks = (_settings(session, settings), *all_checks(settings, laboratory.workspace))
    failed = [check for check in checks if check.state == "fail"]
    if session.json:
        session.emit_pretty({"ok": not failed, "checks": [check_payload(c) for c in checks]})
    else:
        session.show(checks_table(checks))
        word = f"{plural(len(failed), 'problem')} to solve" if failed else "ready to run"
        session.show(Text(f"\n{word}", style="bold red" if failed else "bold green"))
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _settings(session: Session, settings: "Settings") -> Check:
    """Say which settings file counts, and what in the settings takes a protection away."""
    from evocodec.config import DEFAULT_FILE, settings_file

    found = settings_file(session.options.config)
    detail = str(found.path) if found is not None else f"no {DEFAULT_FILE} here, none given"
    weak = {
        "sandbox.unsafe": settings.sandbox.unsafe,
        "sandbox.allow_library_codecs": settings.sandbox.allow_library_codecs,
        "held_out.enabled=false": not settings.held_out.enabled,
    }
    on = ", ".join(name for name, is_on in weak.items() if is_on)
    if on:
        return Check("settings", "warn", f"{detail}; {on}", "evocodec config says where it is set")
    return Check("settings", "ok", detail)
