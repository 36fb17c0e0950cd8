"""``evocodec trust``: allow a settings file in the current folder to set everything."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session
from evocodec.domain.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "trust",
        panel="Look after it",
        examples=["evocodec trust", "evocodec trust --list", "evocodec trust --revoke"],
    )(trust)


def trust(
    session: Session,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="evocodec.toml unless given")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="show what is trusted")] = False,
    revoking: Annotated[bool, typer.Option("--revoke", help="trust it no longer")] = False,
) -> None:
    """Trust a settings file that lies in a folder, as it is now.

    A file in the current folder may be anybody's: it is refused when it switches a protection off,
    or says where keys, programs or records go. Once trusted it may set everything, until it
    changes. A file that is given with --config is trusted for that command.
    """
    from evocodec import config_trust
    from evocodec.config import DEFAULT_FILE, Settings

    if listing:
        _show_list(session)
        return
    path = file or Path(DEFAULT_FILE)
    if revoking:
        known = config_trust.revoke(path)
        _say(session, path, [], trusted=False, text=None if known else "was not trusted")
        return
    try:
        found = config_trust.read_settings_file(path)
    except FileNotFoundError:
        message = f"there is no settings file {path}; name it: evocodec trust FILE"
        raise ConfigError(message) from None
    names = config_trust.protected_settings(found, Settings)
    config_trust.trust(found)
    _say(session, found.path, list(names), trusted=True)


def _say(
    session: Session, path: Path, names: list[str], *, trusted: bool, text: str | None = None
) -> None:
    if session.json:
        session.emit_pretty({"file": str(path), "trusted": trusted, "settings": names})
        return
    state = text or ("is trusted until it changes" if trusted else "is not trusted any more")
    what = f"; it sets {', '.join(names)}" if names else ""
    session.show(Text(sanitize(f"{path} {state}{what}")), soft_wrap=True)


def _show_list(session: Session) -> None:
    from evocodec.config_trust import trusted_files, user_folder

    known = trusted_files()
    if session.json:
        session.emit_pretty({"folder": str(user_folder()), "files": known})
        return
    for path, sha256 in sorted(known.items()):
        session.show(Text(sanitize(f"{path}  sha256 {sha256[:12]}…")), soft_wrap=True)
    if not known:
        session.show(Text("no settings file is trusted"))
