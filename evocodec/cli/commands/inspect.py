"""``evocodec status | ls | show | log | diff``: look at runs, also while they go on."""

import re
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from evocodec.cli.command import command
from evocodec.cli.commands.champions import find_version, version_payload, version_rows
from evocodec.cli.complete import references, run_ids
from evocodec.cli.display.status_panel import status_panel
from evocodec.cli.payload.run import (
    candidate_payload,
    candidate_row,
    estimated_mbps,
    run_payload,
)
from evocodec.cli.render.candidate_page import candidate_page
from evocodec.cli.render.event_log import EventLines
from evocodec.cli.render.program_lines import DiffLines
from evocodec.cli.render.run_summary import OutputPaths, resumable, summary_blocks
from evocodec.cli.render.tables import candidates_table, facts
from evocodec.cli.render.text import sanitize
from evocodec.cli.session import Session, program_text
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.clock import epoch_seconds
from evocodec.domain.errors import UserError
from evocodec.domain.events import Event, RunStopped
from evocodec.domain.vocabulary import RunPhase
from evocodec.formatting import duration, plural
from evocodec.line_diff import unified_diff
from evocodec.store.event_json import event_to_ascii_json
from evocodec.views.bulk import collector_paused
from evocodec.views.candidate import CandidateView
from evocodec.views.run import RunView

if TYPE_CHECKING:
    from evocodec.app import Laboratory

PANEL: Final = "Look"
POLL_SECONDS: Final = 0.5
BATCH_EVENTS: Final = 200  # of the log, written together
SILENT_SECONDS: Final = 300.0  # a run that says nothing for so long was probably killed
_CANDIDATE = re.compile(r"(?:(?P<run>[^/]+)/)?(?P<id>c\d+)")
_VERSION = re.compile(r"v\d+|current")


class Sort(StrEnum):
    """Orders of ``ls``."""

    NUMBER = "number"
    BITRATE = "bitrate"


Run = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="default: newest", autocompletion=run_ids),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    command(
        app,
        "status",
        panel=PANEL,
        examples=["evocodec status", "evocodec status --watch", "evocodec status --json"],
    )(status)
    command(
        app,
        "ls",
        panel=PANEL,
        examples=["evocodec ls --sort bitrate --limit 5", "evocodec ls --status test_failed"],
    )(list_candidates)
    command(
        app,
        "show",
        panel=PANEL,
        examples=["evocodec show c0007", "evocodec show v2", "evocodec show RUN"],
    )(show)
    command(
        app,
        "log",
        panel=PANEL,
        examples=["evocodec log --follow", "evocodec log --candidate c0007"],
    )(log)
    command(
        app,
        "diff",
        panel=PANEL,
        examples=["evocodec diff c0007", "evocodec diff v1 v2", "evocodec diff v2 my_codec.py"],
    )(diff)


def status(
    session: Session,
    run: Run = None,
    watch: Annotated[bool, typer.Option("--watch", help="until the run stops")] = False,
) -> None:
    """Show the newest run on one screen."""
    with session.laboratory() as laboratory:
        if session.json:
            session.emit_pretty(run_payload(laboratory.resolver.view(run)))
            return
        follower = _Follower(session, laboratory, laboratory.resolver.run_id(run))
        if not (watch and session.live):
            session.show(follower.status_panel())
            return
        with Live(console=session.out, get_renderable=follower.status_panel, refresh_per_second=2):
            while not follower.stopped:
                time.sleep(POLL_SECONDS)


class _Follower:
    """Reads the new events of a run whenever its panel is redrawn."""

    def __init__(self, session: Session, laboratory: "Laboratory", run_id: str) -> None:
        self._session = session
        self._laboratory = laboratory
        self._run_id = run_id
        self._progress, self._position = laboratory.resolver.progress(run_id)

    @property
    def stopped(self) -> bool:
        """Whether the run has stopped, as far as its events were read."""
        return self._progress.phase is RunPhase.STOPPED

    def status_panel(self) -> RenderableType:
        """Return the panel of this moment."""
        resolver = self._laboratory.resolver
        self._position = resolver.advance(self._progress, self._run_id, self._position)
        # At a stop, time stood still for what is left open.
        snapshot = self._progress.snapshot(now=None if self.stopped else time.time())
        run = snapshot.run
        return status_panel(
            snapshot,
            corner=Text(_state_text(run)),
            hint=_hint(run, program_text(self._session)),
            width=self._session.out.width,
            height=max(self._session.out.height, 24),
        )


def _state_text(run: RunView) -> str:
    if run.state is RunPhase.STOPPED:
        return (
            f"{sanitize(run.outcome or '').replace('_', ' ')} after {duration(run.elapsed_seconds)}"
        )
    return f"running for {duration(run.elapsed_seconds)}"


def _hint(run: RunView, program: str) -> Text:
    silent = time.time() - (epoch_seconds(run.last_at) or 0.0)
    again = f"{program} run --resume {run.run_id}"
    if run.state is RunPhase.STOPPED:
        message = f"  go on: {again}" if resumable(run) else f"  all candidates: {program} ls"
        return Text(message, style="dim")
    if silent > SILENT_SECONDS:
        message = f"  no event for {duration(silent)}; if it was killed: {again}"
        return Text(message, style="yellow")
    return Text(f"  follow: {program} status --watch", style="dim")


def list_candidates(
    session: Session,
    run: Run = None,
    status: Annotated[CandidateStatus | None, typer.Option("--status", help="only these")] = None,
    sort: Annotated[Sort, typer.Option(help="bitrate: best first, failed last")] = Sort.NUMBER,
    limit: Annotated[int, typer.Option(min=0, help="at most so many; 0: all")] = 0,
) -> None:
    """List the candidates of a run, how each ended, and its bitrate.

    ~ marks an estimate of the screen stage. Failed candidates are never sorted first.
    """
    with session.laboratory() as laboratory:
        view = laboratory.resolver.view(run)
    found = [c for c in view.candidates if status is None or c.status is status]
    if sort is Sort.BITRATE:
        found.sort(key=lambda candidate: _rank(candidate, view))
    shown = found[:limit] if limit else found
    if session.json:
        rows = [candidate_row(candidate, view) for candidate in shown]
        session.emit_pretty({"run_id": view.run_id, "candidates": rows})
        return
    if not shown:
        which = f" with status {status.value}" if status else ""
        session.show(Text(f"{view.run_id} has no candidates{which} yet"))
        return
    session.show(candidates_table(shown, view, width=session.out.width))
    more = f", {plural(len(found) - len(shown), 'more')}" if len(shown) < len(found) else ""
    message = f"{view.run_id}: {plural(len(shown), 'candidate')}{more.removesuffix('s')}"
    session.show(Text(message, style="dim"))


def _rank(candidate: CandidateView, run: RunView) -> tuple[int, float, int]:
    """Measured before estimated before neither; failed ones last, even if they were measured."""
    mbps = estimated_mbps(candidate, run)
    if candidate.status is CandidateStatus.TEST_FAILED:
        return 3, 0.0, candidate.number
    if mbps is None:
        return 2, 0.0, candidate.number
    return (0 if candidate.score is not None else 1), mbps, candidate.number


def show(
    session: Session,
    ref: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="c0007, RUN/c0007, v2, current or RUN", autocompletion=references
        ),
    ],
    prompts: Annotated[
        bool, typer.Option("--prompts", help="what a model was asked for a candidate, and said")
    ] = False,
) -> None:
    """Show everything about a candidate, version or run."""
    match = _CANDIDATE.fullmatch(ref)
    if prompts and match is None:
        raise UserError(f"--prompts is for one candidate, as c0007 or RUN/c0007, not for {ref!r}")
    with session.laboratory() as laboratory:
        if prompts:
            _show_prompts(session, laboratory, ref)
        elif match is not None:
            _show_candidate(session, laboratory, ref)
        elif _VERSION.fullmatch(ref):
            _show_version(session, laboratory, ref)
        else:
            _show_run(session, laboratory, ref)


def _show_candidate(session: Session, laboratory: "Laboratory", ref: str) -> None:
    from evocodec.app.stores import record_place

    candidate, run = laboratory.resolver.excerpt(ref)
    settings, workspace = laboratory.settings, laboratory.workspace
    path = record_place(settings.store, workspace, candidate.experiment_id)
    curves = workspace.run(run.run_id) / "curves"
    pictures = sorted(curves.glob(f"{candidate.candidate_id}-*.png"))
    if session.json:
        session.emit_pretty(candidate_payload(candidate, run, record=path, pictures=pictures))
        return
    program = program_text(session)
    for block in candidate_page(candidate, run, record=path, program=program, pictures=pictures):
        session.show(block)


def _show_prompts(session: Session, laboratory: "Laboratory", ref: str) -> None:
    from evocodec.app.model_talk import calls_of

    candidate, run = laboratory.resolver.excerpt(ref)
    calls = calls_of(laboratory, run.run_id, candidate.candidate_id)
    if session.json:
        session.emit_pretty({"calls": [asdict(call) for call in calls]})
        return
    if not calls:
        session.show(f"no model was asked for {candidate.candidate_id}")
    for call in calls:
        tokens = f"{call.prompt_tokens:,} tokens in, {call.completion_tokens:,} out"
        title = f"=== {call.role} {call.attempt}, {call.model}: {call.outcome}, {tokens}"
        parts = [title]
        for role, content in call.messages:
            parts += [f"--- {role}", content.rstrip("\n")]
        parts += ["--- reply", call.reply.rstrip("\n") or "(none)", ""]
        # As it is, whatever the width of the terminal: a line that is cut off says something else.
        print(sanitize("\n".join(parts), lines=True))


def _show_version(session: Session, laboratory: "Laboratory", ref: str) -> None:
    from evocodec.app.champion_ledger import vouched_versions

    champions = laboratory.champions
    version, current = find_version(champions, ref), champions.current()
    measured, known = None, vouched_versions(laboratory.ledger, champions)
    if version.version in known:
        measured = laboratory.resolver.excerpt(f"{version.run_id}/{version.candidate_id}")
    if session.json:
        body = version_payload(version, current, known)
        if measured is not None:
            body["candidate"] = candidate_payload(*measured, record="")
        session.emit_pretty(body)
        return
    session.show(facts(version_rows(version, current, known)))
    if measured is not None:
        session.show()
        program = program_text(session)
        for block in candidate_page(*measured, record="", program=program):
            session.show(block)


def _show_run(session: Session, laboratory: "Laboratory", ref: str) -> None:
    run = laboratory.resolver.view(ref)
    if session.json:
        session.emit_pretty(run_payload(run) | {"settings": dict(run.settings)})
        return
    workspace = laboratory.workspace
    folder = workspace.run(run.run_id)
    output_paths = OutputPaths(
        workspace=workspace.root,
        champions=laboratory.champions.path,
        run=folder,
        plots=tuple(path for path in (folder / "rd.png", folder / "rd.svg") if path.is_file()),
    )
    for block in summary_blocks(run, output_paths, program=program_text(session)):
        session.show(block)


def log(
    session: Session,
    run: Run = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", metavar="c0007", help="only this one")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="until the run stops")] = False,
) -> None:
    """Print every event of a run, one a line."""
    with session.laboratory() as laboratory:
        run_id = laboratory.resolver.run_id(run)
        if candidate is not None:
            laboratory.resolver.candidate(f"{run_id}/{candidate}")  # raises, with what there is
        began = next(
            (epoch_seconds(event.at) for _, event in laboratory.resolver.events(run_id)), None
        )
        # While a run is followed, there is time for the collector.
        with nullcontext() if follow else collector_paused():
            for events in _batches(laboratory, run_id, candidate, follow=follow):
                if session.json:
                    session.write_lines(map(event_to_ascii_json, events))
                else:
                    session.show(EventLines(events, began), soft_wrap=True)


def _batches(
    laboratory: "Laboratory", run_id: str, candidate_id: str | None, *, follow: bool
) -> Iterator[list[Event]]:
    """Yield events in groups that are written together, each as soon as it is there."""
    after, stopped = 0, False
    only = None if follow else candidate_id  # a run's stop is no event of a candidate
    while True:
        gone = follow and laboratory.resolver.is_gone(run_id)
        batch: list[Event] = []
        for position, event in laboratory.resolver.events(run_id, candidate_id=only, after=after):
            after = position
            stopped = isinstance(event, RunStopped)
            if candidate_id in {None, event.candidate_id}:
                batch.append(event)
            if len(batch) == BATCH_EVENTS:
                yield batch
                batch = []
        if batch:
            yield batch
        if stopped or gone or not follow:
            return
        time.sleep(POLL_SECONDS)


def diff(
    session: Session,
    first: Annotated[str, typer.Argument(metavar="A", autocompletion=references)],
    second: Annotated[str | None, typer.Argument(metavar="[B]", autocompletion=references)] = None,
) -> None:
    """Compare two programs line by line.

    A candidate or version alone is compared with its parent.
    """
    with session.laboratory() as laboratory:
        if second is None:
            first, second = _parent(laboratory, first), first
        before, after = (laboratory.resolver.program(ref)[1].text for ref in (first, second))
    lines = unified_diff(
        sanitize(before, lines=True),
        sanitize(after, lines=True),
        from_label=sanitize(first),
        to_label=sanitize(second),
    )
    if session.json:
        body = {"from": first, "to": second, "same": before == after, "diff": "\n".join(lines)}
        session.emit_pretty(body)
        return
    if not lines:
        session.show(
            Text(f"{sanitize(first)} and {sanitize(second)} are the same program", style="dim")
        )
    session.show(DiffLines(lines), soft_wrap=True)


def _parent(laboratory: "Laboratory", ref: str) -> str:
    """The program that a candidate or version was made from."""
    match = _CANDIDATE.fullmatch(ref)
    if match is not None:
        parent = laboratory.resolver.candidate(ref).parent_id
        prefix = f"{match['run']}/" if match["run"] else ""
    elif _VERSION.fullmatch(ref):
        version = find_version(laboratory.champions, ref)
        parent, prefix = version.parent_id, f"{version.run_id}/"
    else:
        raise UserError(f"what should {ref} be compared with? Name a second program")
    if not parent:
        raise UserError(f"{ref} is a first program, without a parent; name a second program")
    return prefix + parent
