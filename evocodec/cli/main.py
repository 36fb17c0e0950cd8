"""The command line: ``evocodec``. Options that stand before a command, and the list of commands.

A command's module is imported only when that command is called: importing all of them would take
half of the start-up time.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Annotated

import typer

from evocodec import __version__
from evocodec.cli.command import (
    Assignments,
    Config,
    Json,
    Verbose,
    Workspace,
    global_options,
)
from evocodec.cli.session import Session
from evocodec.cli.streams import flush_stdout, prepare_streams
from evocodec.keys import hide_keys

EXIT_CODES = """
[dim]Exit codes[/dim]

  0  done    1  something of ours failed    2  a mistake in what was asked

  3  model endpoint gone, of no use, or its budget used up; resumable

  4  eval, compare: the program failed

  130  stopped by Ctrl-C or SIGTERM; resumable

[dim]Start with[/dim]

  evocodec doctor          is everything here?

  evocodec run --minutes 4 evolve a codec on built-in clips

  evocodec status          what came of it
"""

ABOUT = (
    "An autonomous laboratory for video compression.\n\nAgents propose codecs, a sandbox runs them "
    "on real video, and what beats HEVC and the best version so far, at equal quality, is adopted."
)

# Modules in the order of the help, and the commands or groups that each of them adds.
MODULES: Mapping[str, tuple[str, ...]] = {
    "run": ("run",),
    "submit": ("brief", "submit"),
    "inspect": ("status", "ls", "show", "log", "diff"),
    "metrics": ("metrics",),
    "pareto": ("pareto",),
    "evaluate": ("eval",),
    "compare": ("compare",),
    "anchors": ("anchors",),
    "clips": ("clips",),
    "codec": ("encode", "decode"),
    "champions": ("champions",),
    "config": ("config",),
    "trust": ("trust",),
    "doctor": ("doctor",),
    "store": ("store",),
    "redteam": ("redteam",),
    "cluster": ("cluster",),
}
_TAKE_A_VALUE = ("-w", "--workspace", "--config", "--set")


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"evocodec {__version__}\n")
        raise typer.Exit


def _begin(
    context: typer.Context,
    workspace: Workspace = None,
    config: Config = None,
    assignments: Assignments = None,
    json: Json = False,
    verbose: Verbose = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    """Read the options before the command."""
    values = {
        "workspace": workspace,
        "config": config,
        "assignments": assignments,
        "json": json,
        "verbose": verbose,
    }
    context.obj = Session(global_options(values))


def application(modules: Iterable[str] = MODULES) -> typer.Typer:
    """Build the command line with the commands of these modules."""
    app = typer.Typer(
        name="evocodec",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        epilog=EXIT_CODES,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=ABOUT)(_begin)
    for name in modules:
        import_module(f"evocodec.cli.commands.{name}").register(app)
    return app


def needed(arguments: Sequence[str]) -> list[str]:
    """Say which modules this command line needs: all of them, unless it names a command."""
    command, waiting = "", False
    for word in arguments:
        if waiting:
            waiting = False
        elif word in _TAKE_A_VALUE:
            waiting = True
        elif word in ("-h", "--help") or not word.startswith("-"):
            command = word
            break
    found = [module for module, commands in MODULES.items() if command in commands]
    return found or list(MODULES)


def entry() -> None:
    """Run the command line of this process."""
    hide_keys()
    prepare_streams()
    completing = any(name.startswith("_EVOCODEC_COMPLETE") for name in os.environ)
    modules = list(MODULES) if completing else needed(sys.argv[1:])
    try:
        application(modules)(prog_name="evocodec")
    finally:
        flush_stdout()


if __name__ == "__main__":
    entry()
