"""Page of one candidate: its plan, its measurements and its result."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from evocodec.cli.display.lines import STAGE_NAMES
from evocodec.cli.render.tables import (
    Cell,
    bitrate_text,
    clips_table,
    commands,
    facts,
    outcome_text,
)
from evocodec.cli.render.text import quote_block, sanitize
from evocodec.domain.candidate import Finding
from evocodec.domain.clock import seconds_between
from evocodec.domain.results import Interval, Score
from evocodec.formatting import amount, duration, money, number, percent, plural, size
from evocodec.views.candidate import AttemptView, CandidateView
from evocodec.views.run import RunView


def candidate_page(
    candidate: CandidateView,
    run: RunView,
    *,
    record: str,
    program: str,
    pictures: Sequence[Path] = (),
) -> Iterator[RenderableType]:
    """Yield the blocks of ``show``; ``program`` is how to call us again.

    ``pictures`` show curves that could not be compared.
    """
    word, style = outcome_text(candidate)
    title = Text(sanitize(candidate.candidate_id), style="bold")
    title.append(f"  {word}", style=f"{style} not bold")
    title.append(f"  of {sanitize(run.run_id)}", style="dim not bold")
    yield title
    yield Text()
    yield facts(_facts(candidate, run, record))
    if pictures:
        yield facts([("curves", Text("\n".join(map(str, pictures))))])
    for attempt in candidate.attempts:
        yield from _attempt(attempt, only=len(candidate.attempts) == 1)
    if candidate.score is not None:
        yield clips_table(candidate.score)
    yield Text()
    yield commands(_next(candidate, program))


def _facts(candidate: CandidateView, run: RunView, record: str) -> Iterator[tuple[str, Cell]]:
    yield "hypothesis", candidate.hypothesis
    yield "steps", Text("\n".join(f"{i}. {sanitize(s)}" for i, s in enumerate(candidate.steps, 1)))
    edits = "\n".join(f"{sanitize(name)} = {sanitize(value)}" for name, value in candidate.edits)
    yield "edits", Text(edits)
    yield "parent", candidate.parent_id or "none: it is a first program"
    yield "proposed by", candidate.origin.value if candidate.origin else ""
    yield "verdict", _verdict(candidate)
    if candidate.verdict is None:
        yield "reason", candidate.reason
    yield "held-out", _held_out(candidate)
    if candidate.score is not None or candidate.screen is not None:
        spread = _between(candidate.score.bitrate_interval_mbps) if candidate.score else ""
        message = f"{bitrate_text(candidate, run)} Mbit/s at equal quality{spread}; HEVC is 10"
        yield "bitrate", message
    if candidate.screen is not None:
        yield "screen", candidate.screen.reason
    if candidate.score is not None:
        yield from _cost(candidate.score)
    yield "tasks", _tasks(candidate)
    if candidate.model_calls:
        tokens = f"{amount(candidate.prompt_tokens)} + {amount(candidate.completion_tokens)} tokens"
        calls = plural(candidate.model_calls, "call")
        yield "model", f"{calls}, {tokens}, {money(candidate.cost_usd)}"
    if candidate.adoption is not None:
        pushed = ", pushed" if candidate.adoption.pushed else ""
        yield "commit", f"{candidate.adoption.commit} ({candidate.adoption.tag}{pushed})"
        yield "push", candidate.adoption.push_error
    yield "took", duration(seconds_between(candidate.started_at, candidate.ended_at or run.last_at))
    yield "program", f"sha256 {candidate.source_sha256}" if candidate.source_sha256 else ""
    yield "record", record


def _held_out(candidate: CandidateView) -> str:
    """Both gains: this page is for people, and no agent reads it."""
    found = candidate.held_out
    if found is None:
        return ""
    gains = f"{percent(found.development_gain_percent)} fewer bits than {found.compared_with}"
    held_out = percent(found.held_out_gain_percent)
    bitrate = ""
    if found.bitrate_mbps is not None:
        bitrate = f"{number(found.bitrate_mbps)} Mbit/s, "
    return (
        f"{'passed' if found.passed else 'not passed'}: {bitrate}{gains} on the development clips, "
        f"{held_out}{_between(found.interval_percent, ' %')} on {plural(found.clips, 'clip')} "
        "that nobody tuned on"
    )


def _between(found: Interval | None, unit: str = "") -> str:
    if found is None:
        return ""
    ends = f"{number(found.low)} … {number(found.high)}{unit}"
    return f" ({ends} with {100 * found.level:.0f} % confidence)"


def _cost(score: Score) -> Iterator[tuple[str, Cell]]:
    speed = f"{score.encode_fps:.1f} encode, {score.decode_fps:.1f} decode frames/s"
    program = size(score.program_bytes)
    if score.packed_program_bytes:
        program += f" of program, {size(score.packed_program_bytes)} packed"
    if score.charged_program_bytes:
        program += f", {size(score.charged_program_bytes)} of it counted in every stream"
    yield "cost", f"{speed}, {size(score.peak_memory_bytes)} of memory, {program}"
    if score.encode_time_ratio is not None and score.decode_time_ratio is not None:
        encode, decode = score.encode_time_ratio, score.decode_time_ratio
        yield "against x265", f"{encode:.3g}× its CPU time to encode, {decode:.3g}× to decode"


def _verdict(candidate: CandidateView) -> str:
    verdict = candidate.verdict
    if verdict is None:
        return ""
    word = "adopt" if verdict.adopt else "reject"
    return f"{word} ({verdict.rule}), compared with {verdict.compared_with}: {verdict.reason}"


def _tasks(candidate: CandidateView) -> str:
    counts: dict[str, int] = {}
    for point in candidate.points:
        name = STAGE_NAMES.get(point.stage, str(point.stage))
        counts[name] = counts.get(name, 0) + 1
    message = ", ".join(f"{count} {name}" for name, count in counts.items())
    retries = f", {candidate.retries} retried" if candidate.retries else ""
    return message + retries if message else ""


def _attempt(attempt: AttemptView, *, only: bool) -> Iterator[RenderableType]:
    """Reviews that object, and the failure; an attempt that went well needs no words."""
    refusals = [review for review in attempt.reviews if not review.accepted]
    if not refusals and attempt.failure is None:
        return
    yield Text()
    if not only:
        note = f": {sanitize(attempt.note)}" if attempt.note else ""
        yield Text(f"attempt {attempt.attempt + 1}{note}", style="bold")
    for review in refusals:
        yield Text(f"{sanitize(review.reviewer)} review refused it", style="yellow")
        yield Text("\n".join(_finding(finding) for finding in review.findings))
    failure = attempt.failure
    if failure is not None:
        stage = STAGE_NAMES.get(failure.stage, str(failure.stage))
        line = Text(f"failed in the {stage}", style="red")
        line.append(f": {sanitize(failure.kind)}: {sanitize(failure.message)}", style="default")
        yield line
        if failure.detail:
            yield Text(quote_block(failure.detail), style="dim")


def _finding(finding: Finding) -> str:
    where = f"line {finding.line}: " if finding.line else ""
    return f"  {where}{sanitize(finding.message)} [{sanitize(finding.rule)}]"


def _next(candidate: CandidateView, program: str) -> Iterator[tuple[str, str]]:
    if candidate.source_sha256 and candidate.parent_id:
        yield "changes", f"{program} diff {candidate.candidate_id}"
    yield "events", f"{program} log --candidate {candidate.candidate_id}"
