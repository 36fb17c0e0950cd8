"""The command line: ``evocodec``. Options that stand before a command, and the list of commands."""

import sys
from typing import Annotated

import typer

from evocodec import __version__
from evocodec.cli import (
    anchors,
    champions,
    clips,
    cluster,
    codec,
    compare,
    config,
    doctor,
    evaluate,
    inspect,
    metrics,
    outside,
    pareto,
    redteam,
    run,
    store,
)
from evocodec.cli.command import (
    Assignments,
    Config,
    Json,
    Verbose,
    Workspace,
    global_options,
)
from evocodec.cli.session import Session

EXIT_CODES = """
[dim]Exit codes[/dim]

  0  done    1  something of ours failed    2  a mistake in what was asked

  3  model endpoint gone, or budget used up; resumable

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

app = typer.Typer(
    name="evocodec",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.register(app)
outside.register(app)
inspect.register(app)
metrics.register(app)
pareto.register(app)
evaluate.register(app)
compare.register(app)
anchors.register(app)
clips.register(app)
codec.register(app)
champions.register(app)
config.register(app)
doctor.register(app)
store.register(app)
redteam.register(app)
cluster.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"evocodec {__version__}\n")
        raise typer.Exit


@app.callback(help=ABOUT)
def main(
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
    """Read the options that stand before a command."""
    values = {
        "workspace": workspace,
        "config": config,
        "assignments": assignments,
        "json": json,
        "verbose": verbose,
    }
    context.obj = Session(global_options(values))


def entry() -> None:
    """Run the command line of this process."""
    app(prog_name="evocodec")


if __name__ == "__main__":
    entry()
