"""``evocodec store``: where runs are kept, whether it can be used, and moving them."""

from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload.run import check_payload
from evocodec.cli.render.checks import checks_table
from evocodec.cli.render.tables import add, make_table, spaced
from evocodec.cli.session import Session
from evocodec.domain.errors import UserError
from evocodec.formatting import DASH, plural

PANEL = "Look after it"
Side = Literal["sqlite", "dynamodb"]

group = typer.Typer(
    no_args_is_help=True,
    help=(
        "Where runs are kept: files in the workspace, or DynamoDB and S3.\n\n"
        "Choose with store.backend, store.bucket and the other settings under store. "
        "(evocodec config lists them); docs/stores.md has the permissions that are needed."
    ),
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    command(group, "check", panel=PANEL, examples=["evocodec store check"])(check)
    command(
        group,
        "tables",
        panel=PANEL,
        examples=[
            "evocodec store tables",
            "evocodec store tables --create --set store.bucket=my-lab",
        ],
    )(tables)
    command(
        group,
        "migrate",
        panel=PANEL,
        examples=[
            "evocodec store migrate --to dynamodb --set store.bucket=my-lab --dry-run",
            "evocodec store migrate --from dynamodb --run run-20261017-013635",
        ],
    )(migrate)
    app.add_typer(group, name="store", rich_help_panel=PANEL)


def check(session: Session) -> None:
    """Try what a run needs of its stores, writing a few bytes. Exit 1 when something fails."""
    from evocodec.app.store_admin import check_stores
    from evocodec.app.workspace import Workspace

    settings = session.settings()
    workspace = Workspace.of(settings)
    workspace.prepare()
    checks = check_stores(settings, workspace)
    failed = [found for found in checks if found.state == "fail"]
    if session.json:
        session.emit_pretty(
            {"ok": not failed, "checks": [check_payload(found) for found in checks]}
        )
    else:
        session.show(checks_table(checks))
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def tables(
    session: Session,
    create: Annotated[bool, typer.Option("--create", help="make what is missing")] = False,
) -> None:
    """Show the tables and the bucket that the settings name. Exit 1 when one is missing."""
    from evocodec.app.store_admin import resources

    found = resources(session.settings(), create=create)
    if session.json:
        rows: list[dict[str, Any]] = [
            {
                "kind": place.kind,
                "name": place.name,
                "state": place.state,
                "items": place.items,
                "size_bytes": place.size_bytes,
            }
            for place in found
        ]
        session.emit_pretty({"places": rows})
    else:
        table = make_table("", "name", "state", "items", "MiB", left=(0, 1, 2))
        for place in found:
            items = DASH if place.items is None else str(place.items)
            size = DASH if place.size_bytes is None else f"{place.size_bytes / 2**20:.1f}"
            add(table, place.kind, place.name, place.state, items, size)
        session.show(spaced(table))
        session.show(Text("items and sizes are AWS's own count, hours old", style="dim"))
    if any(place.state == "missing" for place in found):
        raise typer.Exit(ExitCode.FAILED)


def migrate(
    session: Session,
    to: Annotated[Side | None, typer.Option("--to", help="copy to there")] = None,
    origin: Annotated[Side | None, typer.Option("--from", help="copy from there")] = None,
    run: Annotated[
        list[str] | None, typer.Option("--run", help="only this run; repeatable")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count, and write nothing")] = False,
) -> None:
    """Copy runs between the workspace's files and DynamoDB with S3.

    Each copy is read back and compared. Nothing is deleted; what is on both sides is left
    alone, so an interrupted migration goes on where it stopped. Versions are in git: push them.
    """
    from evocodec.app.store_admin import migrate_stores
    from evocodec.app.workspace import Workspace

    start = _origin(to, origin)
    settings = session.settings()
    workspace = Workspace.of(settings)
    workspace.prepare()
    if not session.json:
        verb = "would copy" if dry_run else "copying"
        session.err.print(Text(f"{verb} from {start}", style="dim"))
    done = migrate_stores(settings, workspace, origin=start, runs=tuple(run or ()), dry_run=dry_run)
    if session.json:
        rows = [
            {"kind": m.kind, "name": m.name, "found": m.found, "copied": m.copied}
            | ({"sha256": m.sha256} if m.sha256 else {})
            for m in done.moved
        ]
        session.emit_pretty({"dry_run": done.dry_run, "copied": done.copied, "moved": rows})
        return
    table = make_table("", "name", "found", "to copy" if dry_run else "copied", left=(0, 1))
    for moved in done.moved:
        add(table, moved.kind, moved.name, str(moved.found), str(moved.copied))
    session.show(spaced(table))
    word = "would be copied" if dry_run else "copied and compared"
    session.show(Text(f"{plural(done.copied, 'thing')} {word}; nothing was deleted"))


def _origin(to: Side | None, origin: Side | None) -> Side:
    if to == origin:
        raise UserError(
            "say where to copy: --to dynamodb for the workspace's files, --from dynamodb to get "
            "them back"
        )
    if origin is not None:
        return origin
    return "sqlite" if to == "dynamodb" else "dynamodb"
