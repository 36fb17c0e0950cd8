"""Summary at the end of a run: what was found, where it is, and what to type next."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from evocodec.cli.display.status_panel import count_lines, message_text
from evocodec.cli.exits import ExitCode
from evocodec.cli.payload.run import Json, run_payload
from evocodec.cli.render.tables import commands, facts, versions_table
from evocodec.cli.render.text import sanitize, versus_hevc
from evocodec.domain.vocabulary import Proposer, RunOutcome, VerdictRule
from evocodec.formatting import duration, number, percent, plural
from evocodec.views.candidate import CandidateView
from evocodec.views.run import RunView

EXIT_OF_OUTCOME: Final = {
    RunOutcome.FINISHED: ExitCode.OK,
    RunOutcome.INTERRUPTED: ExitCode.INTERRUPTED,
    RunOutcome.ENDPOINT_GONE: ExitCode.ENDPOINT,
    RunOutcome.BUDGET: ExitCode.ENDPOINT,
    RunOutcome.NO_PROGRESS: ExitCode.ENDPOINT,
    RunOutcome.FAILED: ExitCode.FAILED,
}
HEADLINES: Final = {
    RunOutcome.FINISHED: ("finished", "bold green"),
    RunOutcome.INTERRUPTED: ("stopped", "bold yellow"),
    RunOutcome.ENDPOINT_GONE: ("stopped: the model endpoint is gone", "bold yellow"),
    RunOutcome.BUDGET: ("stopped: the budget is used up", "bold yellow"),
    RunOutcome.NO_PROGRESS: ("stopped: the model makes no progress", "bold yellow"),
    RunOutcome.FAILED: ("failed", "bold red"),
}


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Files that a run wrote; ``plots`` is empty when there was nothing to draw."""

    workspace: Path
    champions: Path
    run: Path
    plots: tuple[Path, ...] = ()


def exit_code(run: RunView) -> ExitCode:
    """Return what the way in which a run came to rest means to a script."""
    return EXIT_OF_OUTCOME[run.outcome] if run.outcome else ExitCode.FAILED


def summary_payload(run: RunView, output_paths: OutputPaths, *, resume: str) -> Json:
    """Return the last line of ``run --json``."""
    body: Json = {
        **run_payload(run),
        "exit_code": int(exit_code(run)),
        "workspace": str(output_paths.workspace),
        "champions": str(output_paths.champions),
        "run_folder": str(output_paths.run),
        "plots": [str(path) for path in output_paths.plots],
        "resume": resume if resumable(run) else "",
    }
    return {"summary": body}


def resumable(run: RunView) -> bool:
    """Whether the run can be resumed; a run that never started cannot."""
    return bool(run.clips) and (run.outcome is not RunOutcome.FINISHED or bool(run.in_flight))


def summary_blocks(
    run: RunView, output_paths: OutputPaths, *, program: str
) -> Iterator[RenderableType]:
    """Yield the blocks of the last screen; ``program`` is how to call us again."""
    yield Text()
    yield _headline(run)
    yield from _result(run)
    for message in count_lines(run):
        yield Text(message, style="dim")
    if run.failures:
        kinds = ", ".join(f"{count} {sanitize(kind)}" for kind, count in run.failures.items())
        yield Text(f"failures: {kinds}", style="dim")
    yield Text()
    yield facts(_where(output_paths))
    yield Text()
    yield commands(_next(run, program))


def _headline(run: RunView) -> Text:
    word, style = HEADLINES[run.outcome] if run.outcome else (run.state.value, "bold")
    line = Text(sanitize(word), style=style)
    seconds = duration(run.elapsed_seconds)
    message = f"{run.run_id}, {plural(len(run.candidates), 'candidate')} in {seconds}"
    line.append(f"  {sanitize(message)}", style="default not bold")
    if message_text(run):
        line.append(f"\n{message_text(run)}", style="default not bold")
    return line


def _result(run: RunView) -> Iterator[RenderableType]:
    if run.versions:
        yield versions_table(run.versions)
        note = "bits at equal PSNR-Y, HEVC (x265 medium) is 10.00; gain: on what was to beat"
        yield Text(note, style="dim")
        return
    yield Text()
    leader = run.version_to_beat
    if leader is None:
        yield Text("Nothing was adopted.", style="bold")
    else:
        yield Text(f"Nothing was adopted: {sanitize(leader[0])} stays the version to beat.", "bold")
    best = _best_rejected(run)
    if best is not None and best.score is not None:
        rate = best.score.bitrate_mbps
        message = f"The best candidate was {best.candidate_id}: {number(rate)} Mbit/s at equal "
        yield Text(f"{message}quality, {percent(versus_hevc(rate))} vs HEVC.")
        yield Text(f"Why not: {sanitize(best.reason or 'it was not judged before the end')}")
    elif run.candidates:
        last = run.candidates[-1]
        why = sanitize(last.reason) or f"it was left at its {sanitize(last.activity)}"
        yield Text("No candidate got as far as a full score.")
        yield Text(f"The last one was {last.candidate_id}: {why}")
    yield Text()


def _best_rejected(run: RunView) -> CandidateView | None:
    """The best candidate of this run that is not the old champion measured again."""
    scored = [
        (candidate.score.bitrate_mbps, index, candidate)
        for index, candidate in enumerate(run.candidates)
        if candidate.score
        and not (candidate.verdict and candidate.verdict.rule is VerdictRule.BASELINE)
    ]
    return min(scored)[2] if scored else None


def _where(output_paths: OutputPaths) -> Iterator[tuple[str, str]]:
    yield "workspace", _short(output_paths.workspace)
    yield "versions", f"{_short(output_paths.champions)} (git)"
    if output_paths.plots:
        yield "RD curves", "  ".join(_short(path) for path in output_paths.plots)
    yield "log", _short(output_paths.run / "log.jsonl")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _next(run: RunView, program: str) -> Iterator[tuple[str, str]]:
    if resumable(run):
        yield "go on", f"{program} run --resume {run.run_id}"
    if run.versions:
        newest = run.versions[-1]
        yield "look", f"{program} show {newest.candidate_id}"
        yield "use it", f"{program} encode VIDEO out.evc && {program} decode out.evc out.y4m"
    elif run.best is not None:
        yield "look", f"{program} show {run.best.candidate_id}"
    elif run.candidates:
        yield "look", f"{program} show {run.candidates[-1].candidate_id}"
    if not run.model_calls and run.proposer is Proposer.MUTATION:
        yield "a model", "EVOCODEC_MODEL__BASE_URL and EVOCODEC_MODEL__MODEL set a proposer"
