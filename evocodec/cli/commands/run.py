"""``evocodec run``: the whole laboratory, shown while it works."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperCommand

from evocodec.cli.command import command
from evocodec.cli.display.contract import Display
from evocodec.cli.display.live import LiveDisplay
from evocodec.cli.display.plain import PlainDisplay
from evocodec.cli.display.silent import SilentDisplay
from evocodec.cli.render.run_summary import OutputPaths, exit_code, summary_blocks, summary_payload
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session, program_text
from evocodec.cli.stopping import run_stoppable
from evocodec.domain.errors import EvocodecError
from evocodec.domain.events import Event
from evocodec.views.run import RunView

if TYPE_CHECKING:
    from evocodec.app import Laboratory
    from evocodec.config import Settings

LIMITS = "How far"
SEARCH = "What is tried"
ENGINE = "Where it runs"
NEWEST = "latest"


class RunCommand(TyperCommand):
    """Accepts ``--resume`` with and without a run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare ``--resume`` its value: the newest run."""
        return super().parse_args(ctx, with_value(args, "--resume", NEWEST))


def with_value(args: list[str], option: str, value: str) -> list[str]:
    """Return arguments in which ``option`` has a value, also where none was typed."""
    found: list[str] = []
    for index, arg in enumerate(args):
        following = args[index + 1] if index + 1 < len(args) else "-"
        bare = arg == option and following.startswith("-")
        found.append(f"{option}={value}" if bare else arg)
    return found


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        "run",
        panel="Evolve",
        cls=RunCommand,
        examples=[
            "evocodec run --minutes 4",
            "evocodec run --clip talk.mp4@0-48:320x180 --candidates 20 --seed 7",
            "evocodec run --model MODEL --base-url http://127.0.0.1:8000/v1",
            "evocodec run --resume",
        ],
    )(run)


def run(
    session: Session,
    minutes: Annotated[
        float | None,
        typer.Option(help="open no new candidate after that", rich_help_panel=LIMITS),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="stop after that many", rich_help_panel=LIMITS)
    ] = None,
    clip: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help=r"PATH\[@START-END]\[:WxH]", rich_help_panel=SEARCH),
    ] = None,
    program: Annotated[
        str | None,
        typer.Option(metavar="FILE|NAME", help="what to begin with", rich_help_panel=SEARCH),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="of every pseudo-random choice", rich_help_panel=SEARCH)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="a language model proposes", rich_help_panel=SEARCH),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="OpenAI-compatible endpoint", rich_help_panel=SEARCH),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="[RUN]", help="go on with a run; the newest", rich_help_panel=LIMITS),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="recorded replies propose", rich_help_panel=SEARCH),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="candidates evaluated at once", rich_help_panel=ENGINE)
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="A", help="an existing Ray cluster", rich_help_panel=ENGINE),
    ] = None,
    gpus_per_task: Annotated[
        float | None, typer.Option(help="e.g. 0.25", rich_help_panel=ENGINE)
    ] = None,
    remote: Annotated[
        str | None,
        typer.Option(metavar="URL", help="git remote for versions", rich_help_panel=ENGINE),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(metavar="N", help="serve /metrics for Prometheus", rich_help_panel=ENGINE),
    ] = None,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe", help="run below the isolation floor", rich_help_panel=ENGINE),
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="lines instead of a live picture")] = False,
) -> None:
    """Evolve a codec; adopt what beats HEVC and the champion.

    Ctrl-C stops cleanly; nothing measured is lost, and --resume goes on where it stopped.
    """
    flags: Mapping[str, Any] = {
        "run.minutes": minutes,
        "run.candidates": candidates,
        "run.slots": slots,
        "run.seed": seed,
        "run.program": program,
        "run.replay": replay,
        "evaluation.clips": clip or None,
        "model.model": model,
        "model.base_url": base_url,
        "sandbox.unsafe": unsafe or None,
        "ray.address": ray_address,
        "ray.gpus_per_task": gpus_per_task,
        "champions.remote": remote,
        "telemetry.metrics_port": metrics_port,
    }
    settings = session.settings(flags)

    def execute(laboratory: "Laboratory", watching: Watching) -> RunView:
        from evocodec.app.runs import perform_run

        return perform_run(
            laboratory,
            resume=resume,
            listeners=watching.listeners,
            stop=watching.stop,
            replay=watching.replay,
        )

    view, output_paths = watch(
        session,
        settings,
        execute,
        plain=plain,
    )
    finish(session, settings, view, output_paths)


def finish(
    session: Session, settings: "Settings", view: RunView, output_paths: OutputPaths
) -> None:
    """Show how a run ended, and leave with its exit code."""
    if settings.telemetry.log_to == "stdout":
        pass  # its last lines say so, and nothing else belongs there
    elif session.json:
        session.emit(summary_payload(view, output_paths, resume=_resume_text(session, view.run_id)))
    else:
        for block in summary_blocks(view, output_paths, program=program_text(session)):
            session.show(block)
    raise typer.Exit(exit_code(view))


@dataclass(frozen=True, slots=True)
class Watching:
    """Callbacks of a run: who receives its events, who receives its past, and when to stop."""

    listeners: Sequence[Callable[[Event], None]]
    replay: Callable[[Iterable[Event]], None]
    stop: threading.Event


def watch(
    session: Session,
    settings: "Settings",
    execute: Callable[["Laboratory", Watching], RunView],
    *,
    plain: bool,
) -> tuple[RunView, OutputPaths]:
    """Carry out a run under a display that shows it, and that a person can stop."""
    display = make_display(session, settings, plain=plain)
    stop = threading.Event()
    seen: list[str] = []

    def listen(event: Event) -> None:
        if not seen:
            seen.append(event.run_id)
        display.on_event(event)

    def work() -> tuple[RunView, OutputPaths]:
        with session.laboratory_of(settings) as laboratory:
            view = execute(laboratory, Watching([listen], display.replay, stop))
            return view, _places(session, laboratory, view)

    def on_stop() -> None:
        again = f"\nresume with: {_resume_text(session, seen[0])}" if seen else ""
        display.notice(f"stopping cleanly (Ctrl-C again leaves at once){again}")

    def on_leave() -> None:
        session.restore_terminal()
        again = f"; resume with: {_resume_text(session, seen[0])}" if seen else ""
        # Straight to the descriptor: the console may be in the middle of something.
        os.write(2, f"\nleft at once; what was measured is kept{again}\n".encode())

    with display:
        return run_stoppable(work, stop=stop, on_stop=on_stop, on_leave=on_leave)


def make_display(session: Session, settings: "Settings", *, plain: bool) -> Display:
    """Return the renderer that fits where stdout goes."""
    if settings.telemetry.log_to == "stdout":
        return SilentDisplay()
    if session.json:
        from evocodec.cli.display.json import JsonDisplay

        return JsonDisplay(session.err)
    if plain or not session.live:
        return PlainDisplay(session.out, everything=session.options.verbose)
    return LiveDisplay(
        session.out, minutes=settings.run.minutes, candidates=settings.run.candidates
    )


def _places(session: Session, laboratory: "Laboratory", view: RunView) -> OutputPaths:
    plots: tuple[Path, ...] = ()
    if view.versions:
        from evocodec.report.run_plots import plot_run

        try:
            plots = plot_run(view, laboratory.workspace.run(view.run_id))
        except EvocodecError as error:  # a run without a picture is still a run
            session.err.print(Text(f"no RD plot: {sanitize(str(error))}", style="dim"))
    workspace = laboratory.workspace
    return OutputPaths(
        workspace=workspace.root,
        champions=laboratory.champions.path,
        run=workspace.run(view.run_id),
        plots=plots,
    )


def _resume_text(session: Session, run_id: str) -> str:
    return f"{program_text(session)} run --resume {run_id}"
