"""Command decorator: adds global options, examples and error handling to a function."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer
from rich.markup import escape
from typer.core import TyperCommand

from evocodec.cli.errors import report
from evocodec.cli.exits import ExitCode
from evocodec.cli.session import GlobalOptions, Session
from evocodec.domain.errors import ReaderGone

P = ParamSpec("P")
EVERYWHERE = "Everywhere"

Workspace = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="folder that runs are kept in", rich_help_panel=EVERYWHERE
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="settings file (evocodec.toml)", rich_help_panel=EVERYWHERE),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="one setting, e.g. run.minutes=5; repeatable",
        rich_help_panel=EVERYWHERE,
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="replace an existing file of another kind too")
]
Json = Annotated[bool, typer.Option("--json", help="JSON for machines", rich_help_panel=EVERYWHERE)]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="tracebacks and details", rich_help_panel=EVERYWHERE),
]
GLOBALS: Mapping[str, tuple[Any, object]] = {
    "workspace": (Workspace, None),
    "config": (Config, None),
    "assignments": (Assignments, None),
    "json": (Json, False),
    "verbose": (Verbose, False),
}


def global_options(values: Mapping[str, Any]) -> GlobalOptions:
    """Build the options from a command's keyword arguments."""
    return GlobalOptions(
        workspace=values["workspace"],
        config=values["config"],
        assignments=tuple(values["assignments"] or ()),
        json=values["json"],
        verbose=values["verbose"],
    )


def command(
    app: typer.Typer,
    name: str,
    *,
    panel: str,
    examples: Sequence[str],
    cls: type[TyperCommand] | None = None,
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Register a function whose first parameter is the Session.

    The command also takes the global options, shows the examples at the end of its help, and turns
    every error into a message and an exit code. The function itself is returned unchanged.
    """

    def register(
        function: Callable[Concatenate[Session, P], None],
    ) -> Callable[Concatenate[Session, P], None]:
        app.command(
            name,
            cls=cls,
            rich_help_panel=panel,
            epilog=_epilog(examples),
            help=unwrapped(inspect.getdoc(function) or ""),
        )(_wrap(function))
        return function

    return register


def _wrap(function: Callable[..., None]) -> Callable[..., None]:
    def invoke(context: typer.Context, **values: Any) -> None:
        own = {name: values.pop(name) for name in GLOBALS}
        before = context.find_object(Session) or Session()
        session = Session(before.options.merged(global_options(own)))
        guarded(session, lambda: function(session, **values))

    first, *rest = inspect.signature(function, eval_str=True).parameters.values()
    parameters = [
        inspect.Parameter("context", first.kind, annotation=typer.Context),
        *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in rest),
        *(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
            for name, (annotation, default) in GLOBALS.items()
        ),
    ]
    invoke.__name__ = function.__name__
    invoke.__doc__ = function.__doc__
    invoke.__annotations__ = {p.name: p.annotation for p in parameters}
    vars(invoke)["__signature__"] = inspect.Signature(parameters)
    return invoke


def guarded(session: Session, work: Callable[[], None]) -> None:
    """Run a command's body; leave with the exit code that its outcome means."""
    try:
        work()
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except ReaderGone:
        raise typer.Exit(ExitCode.OK) from None
    except BrokenPipeError:
        # The reader (head, less) has what it wanted. The interpreter flushes stdout at exit and
        # would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.OK) from None
    except Exception as error:  # noqa: BLE001 - the process edge: everything becomes a message
        raise typer.Exit(report(session, error)) from None


def unwrapped(text: str) -> str:
    """Return a docstring's paragraphs, a line each: the help fits them to the terminal itself."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _epilog(examples: Sequence[str]) -> str:
    return "[dim]Examples[/dim]\n\n" + "\n\n".join(f"  {escape(line)}" for line in examples)
