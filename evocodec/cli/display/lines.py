"""Text lines of events, for the plain renderer, the log and the live display."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import singledispatch
from typing import Any

from rich.text import Text

from evocodec.cli.render.text import sanitize, shorten, versus_hevc
from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.results import RatePoint, Score, Stage
from evocodec.domain.vocabulary import CallOutcome, NoteSubject, RunOutcome
from evocodec.formatting import amount, money, number, percent, plural, size
from evocodec.views.candidate import waiting_text

LONGEST = 400  # characters of one line; a model or a program may write pages


class LineStyle(StrEnum):
    """Kind of a line; the value is its rich style."""

    GOOD = "green"
    BAD = "red"
    WARN = "yellow"
    PLAIN = "default"
    QUIET = "dim"


@dataclass(frozen=True, slots=True)
class Line:
    """One event as a line. ``main`` lines are shown during a run; all lines are in the log."""

    who: str
    text: str
    style: LineStyle = LineStyle.PLAIN
    main: bool = True

    @property
    def good(self) -> bool:
        """Whether it is good news: who it is about is then set in bold."""
        return self.style is LineStyle.GOOD

    def render(self, *, lead: str = "", width: int | None = None) -> Text:
        """Return the line with its lead (a time), aligned; cut to ``width`` when given."""
        text = Text(f"{lead:>7}  " if lead else "", style="default")
        text.stylize("dim", 0, len(text))
        text.append(f"{sanitize(self.who):<7}", style="bold" if self.good else "default")
        text.append(f" {shorten(self.text, LONGEST)}", style=str(self.style))
        if width is not None:
            text.truncate(width, overflow="ellipsis")
        return text


STAGE_NAMES = {
    Stage.REVIEW: "review",
    Stage.SMOKE: "smoke test",
    Stage.SCREEN: "screen",
    Stage.FULL: "full evaluation",
    Stage.HELD_OUT: "held-out check",
}
STATUS_WORDS = {
    CandidateStatus.RUNNING: ("running", LineStyle.PLAIN),
    CandidateStatus.ADOPTED: ("adopted", LineStyle.GOOD),
    CandidateStatus.REJECTED: ("rejected", LineStyle.QUIET),
    CandidateStatus.TEST_FAILED: ("failed", LineStyle.BAD),
}


def describe(event: ev.Event) -> Line:
    """Return the line for any event, of a kind known here or not."""
    kind = type(event)
    function = _BY_TYPE.get(kind)
    if function is None:  # looked up once: a log has a hundred thousand lines
        function = _BY_TYPE[kind] = _describe.dispatch(kind)
    return function(event)


_BY_TYPE: dict[type, Callable[[Any], Line]] = {}


@singledispatch
def _describe(event: ev.EventBase) -> Line:
    kind = getattr(event, "kind", type(event).__name__)
    return Line(event.candidate_id or "run", str(kind), LineStyle.QUIET, main=False)


@_describe.register
def _(event: ev.RunStarted) -> Line:
    verb = f"goes on ({plural(event.resumed, 'resume')})" if event.resumed else "started"
    text = f"{event.run_id} {verb}: {event.proposer} proposes, seed {event.seed}, clips "
    text += ", ".join(event.clips)
    if event.unsafe:
        return Line("run", text + "; isolation is BELOW THE FLOOR (--unsafe)", LineStyle.WARN)
    return Line("run", text)


def introduce(event: ev.RunStarted) -> tuple[Line, ...]:
    """Return facts for a person before a run starts: the proposer, and where to look."""
    dashboard = event.cluster.dashboard_url
    lines = [Line("run", event.notice, LineStyle.WARN)]
    if dashboard:
        lines.append(Line("run", f"Ray dashboard: {dashboard}", LineStyle.QUIET))
    return tuple(line for line in lines if line.text)


@_describe.register
def _(event: ev.AnchorReady) -> Line:
    curve = event.curve
    how = "cached" if event.cached else f"{len(curve.points)} encodes"
    if not event.primary:
        text = f"{curve.codec} on {curve.clip}, for versions to be compared with ({how})"
        return Line("anchor", text, LineStyle.QUIET, main=False)
    text = f"{curve.codec} on {curve.clip}: {event.operating_psnr_y_db:.2f} dB"
    return Line("anchor", f"{text} at its 10 Mbit/s ({how})", LineStyle.QUIET)


@_describe.register
def _(event: ev.CandidateOpened) -> Line:
    parent = f"from {event.parent_id}" if event.parent_id else "the first program"
    return Line(event.candidate_id, f"opened, {parent}", LineStyle.QUIET, main=False)


@_describe.register
def _(event: ev.Planned) -> Line:
    return Line(event.candidate_id, event.hypothesis)


@_describe.register
def _(event: ev.ModelCalled) -> Line:
    tokens = f"{amount(event.prompt_tokens)} + {amount(event.completion_tokens)} tokens"
    text = f"{event.role} asked {event.model}: {event.outcome}, {tokens}"
    text += f", {event.wall_seconds:.1f} s"
    if event.cost_usd:
        text += f", {money(event.cost_usd)}"
    fine = event.outcome is CallOutcome.OK
    return Line(
        event.candidate_id or "run",
        text,
        LineStyle.QUIET if fine else LineStyle.WARN,
        main=not fine,
    )


@_describe.register
def _(event: ev.ModelNoted) -> Line:
    who = event.candidate_id or "run"
    if event.subject is NoteSubject.ENDPOINT:
        return Line(who, event.text, LineStyle.QUIET)
    if event.subject is NoteSubject.LEARNT:
        return Line(who, event.text, LineStyle.WARN)
    return Line(who, f"{event.role}: {waiting_text(event)}", LineStyle.WARN)


@_describe.register
def _(event: ev.CodeWritten) -> Line:
    text = "program" if event.attempt == 0 else f"attempt {event.attempt + 1}"
    text += f" written, {size(event.program_bytes)}"
    if event.note:
        text += f": {event.note}"
    return Line(event.candidate_id, text, LineStyle.QUIET, main=event.attempt > 0)


@_describe.register
def _(event: ev.Reviewed) -> Line:
    if event.accepted:
        return Line(
            event.candidate_id, f"{event.reviewer} review passed", LineStyle.QUIET, main=False
        )
    first = event.findings[0] if event.findings else None
    text = f"{event.reviewer} review refused it"
    if first is not None:
        text += f": {first.message}"
        text += f" (line {first.line})" if first.line else ""
    more = len(event.findings) - 1
    if more > 0:
        text += f", and {more} more"
    return Line(event.candidate_id, text, LineStyle.WARN)


@_describe.register
def _(event: ev.StageStarted) -> Line:
    name = STAGE_NAMES.get(event.stage, str(event.stage))
    main = event.stage in {Stage.FULL, Stage.HELD_OUT}
    return Line(event.candidate_id, f"{name} begins", LineStyle.QUIET, main=main)


@_describe.register
def _(event: ev.PointMeasured) -> Line:
    text = f"{event.stage} {point_text(event.point)}"
    return Line(event.candidate_id, text, LineStyle.QUIET, main=False)


def point_text(point: RatePoint) -> str:
    """Return one rate point as text."""
    kbit = point.bits / 1000
    cost = point.cost
    text = f"{point.clip} qp {point.qp:g}: {kbit:.1f} kbit, {point.quality.psnr_y_db:.2f} dB"
    if cost.encode_wall_seconds or cost.decode_wall_seconds:
        text += f", {cost.encode_wall_seconds:.1f} + {cost.decode_wall_seconds:.1f} s"
    return text


@_describe.register
def _(event: ev.InfrastructureRetried) -> Line:
    task = event.task.removeprefix(f"{event.candidate_id}/")
    text = f"{task} lost, retry {event.retry}: {event.reason}"
    return Line(event.candidate_id or "run", text, LineStyle.WARN)


@_describe.register
def _(event: ev.AttemptFailed) -> Line:
    stage = STAGE_NAMES.get(event.stage, str(event.stage))
    text = f"failed in the {stage}: {event.failure}: {event.message}"
    return Line(event.candidate_id, text, LineStyle.BAD)


@_describe.register
def _(event: ev.Screened) -> Line:
    result = event.result
    text = f"screen {'passed' if result.passed else 'not passed'}: {result.reason}"
    return Line(event.candidate_id, text, main=result.passed)


@_describe.register
def _(event: ev.Evaluated) -> Line:
    return Line(event.candidate_id, score_text(event.score))


def score_text(score: Score) -> str:
    """Return a full evaluation as text."""
    return (
        f"{number(score.bitrate_mbps)} Mbit/s at equal quality "
        f"({percent(versus_hevc(score.bitrate_mbps))} vs HEVC), "
        f"compression {number(score.compression_ratio, 1)}, "
        f"BD-rate {percent(score.bd_rate_percent)}"
    )


@_describe.register
def _(event: ev.HeldOutTested) -> Line:
    result = event.result
    style = LineStyle.PLAIN if result.passed else LineStyle.WARN
    word = "passed" if result.passed else "not passed"
    return Line(event.candidate_id, f"held-out {word}: {result.reason}", style, main=True)


@_describe.register
def _(event: ev.Judged) -> Line:
    word = "adopt" if event.verdict.adopt else "reject"
    style = LineStyle.GOOD if event.verdict.adopt else LineStyle.PLAIN
    text = f"{word} ({event.verdict.rule}): {event.verdict.reason}"
    return Line(event.candidate_id, text, style, main=event.verdict.adopt)


@_describe.register
def _(event: ev.Adopted) -> Line:
    text = f"adopted as {event.tag}, commit {event.commit[:10]}"
    if event.push_error:
        return Line(event.candidate_id, f"{text}; push failed: {event.push_error}", LineStyle.WARN)
    return Line(event.candidate_id, text + (", pushed" if event.pushed else ""), LineStyle.GOOD)


@_describe.register
def _(event: ev.CandidateClosed) -> Line:
    word, style = STATUS_WORDS[event.status]
    text = f"{word}: {event.reason}" if event.reason else word
    return Line(event.candidate_id, text, style, main=event.status is not CandidateStatus.ADOPTED)


@_describe.register
def _(event: ev.RunStopped) -> Line:
    style = (
        LineStyle.PLAIN
        if event.outcome in {RunOutcome.FINISHED, RunOutcome.INTERRUPTED}
        else LineStyle.WARN
    )
    text = event.outcome.replace("_", " ")
    if event.counts:
        text += ": " + ", ".join(f"{n} {name}" for name, n in event.counts.items())
    if event.message:
        text += f"; {event.message}"
    return Line("run", text, style)
