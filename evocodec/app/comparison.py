"""Two programs, versions or real encoders side by side at equal quality."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from evocodec.anchors.encoders import AnchorEncoder, anchor_encoders, primary_encoder
from evocodec.app.anchor_progress import OnAnchor
from evocodec.app.engine import local_launcher, make_limits
from evocodec.app.evaluation_request import EvaluationRequest, StartingEngine
from evocodec.app.laboratory import Laboratory
from evocodec.app.measurement_setup import MeasurementSetup, open_setup, reviewed
from evocodec.app.program_report import (
    assemble,
    held_out_notices,
    held_out_of,
    program_codec,
    with_views,
)
from evocodec.app.programs import short_name
from evocodec.app.reference_codecs import anchor_codecs
from evocodec.app.workspace import Workspace
from evocodec.codec.program import Program
from evocodec.config import Settings
from evocodec.domain.errors import UserError
from evocodec.domain.events import Event
from evocodec.domain.results import HeldOutResult, Score, Track
from evocodec.line_diff import unified_diff
from evocodec.report.model import Codec, Report
from evocodec.report.pictures import Renderer, anchor_renderer, program_renderer

MOST_DIFF_LINES = 400


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: a program's text, or a real encoder."""

    label: str
    program: Program | None = None
    encoder: AnchorEncoder | None = None
    held_out: HeldOutResult | None = None


@dataclass(frozen=True, slots=True)
class _Measured:
    side: Side
    codec: Codec
    score: Score | None


def find_side(name: str, lab: Laboratory) -> Side:
    """An anchor of the settings' track by its name, or else a program.

    Raises:
        UserError: nothing is called that.
    """
    encoders = anchor_encoders(Track(lab.settings.evaluation.track))
    for encoder in encoders:
        if name in (encoder.name, encoder.base_name):
            return Side(encoder.name, encoder=encoder)
    try:
        program = lab.resolver.program(name)[1]
        held_out = held_out_of(lab.resolver.origin(name))
        return Side(short_name(name), program=program, held_out=held_out)
    except UserError as error:
        known = ", ".join(encoder.base_name for encoder in encoders)
        message = f"{error}; or name an anchor: {known}"
        raise UserError(message) from error


def compare_sides(
    starting: StartingEngine,
    settings: Settings,
    workspace: Workspace,
    a: Side,
    b: Side,
    *,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event,
    request: EvaluationRequest,
    on_anchor: OnAnchor | None = None,
) -> Report:
    """Compare two codecs: bits that ``b`` needs where ``a`` needs 100, and the costs of both.

    Raises:
        CandidateFailure: a program was refused or failed.
        UserError: both are one.
    """
    a, b = _told_apart(a, b)

    def review_both() -> None:
        nonlocal a, b
        a, b = _reviewed(a, settings), _reviewed(b, settings)

    setup = open_setup(
        *(starting, settings, workspace, listeners, stop),
        on_anchor=on_anchor,
        repeat=request.repeat,
        meanwhile=review_both,
    )
    first, second = (
        _measure(setup, side, name, request, on_anchor) for side, name in ((a, "A"), (b, "B"))
    )
    starting.engine.close()
    context = _context(setup, first, second)
    report = assemble(
        setup,
        title=f"{b.label} against {a.label}",
        subject=second.codec,
        references=(first.codec, *context),
        score=second.score,
        request=request,
        difference=difference(a, b),
        notices=(*held_out_notices(a.held_out, a.label), *held_out_notices(b.held_out, b.label)),
    )
    if not request.pictures:
        return report
    with ExitStack() as stack:
        shown = [_renderer(measured_side, settings, stack) for measured_side in (first, second)]
        return with_views(report, setup, shown[0], shown[1])


def _reviewed(side: Side, settings: Settings) -> Side:
    if side.program is None:
        return side
    return replace(side, program=reviewed(settings, side.program))


def difference(a: Side, b: Side) -> str:
    """Unified diff of two programs, with the number of changed lines first."""
    if a.program is None or b.program is None:
        return ""
    lines = unified_diff(
        _visible(a.program.text),
        _visible(b.program.text),
        from_label=a.label,
        to_label=b.label,
        context_lines=2,
    )
    added = sum(line.startswith("+") for line in lines[2:])
    removed = sum(line.startswith("-") for line in lines[2:])
    if not lines:
        return "The programs are the same, byte for byte but for line ends."
    left_out = len(lines) - MOST_DIFF_LINES
    shown = lines[:MOST_DIFF_LINES]
    if left_out > 0:
        shown.append(f"… {left_out} lines left out; `evocodec diff` shows them all")
    return "\n".join([f"{added} lines added, {removed} removed", "", *shown])


def _visible(text: str) -> str:
    """Write out characters that a page would not show, or that reorder what it shows."""
    if text.isprintable():
        return text
    kept = "\n\t\r"
    return "".join(c if c.isprintable() or c in kept else f"\\u{ord(c):04x}" for c in text)


def _told_apart(a: Side, b: Side) -> tuple[Side, Side]:
    if a.encoder is not None and a.encoder == b.encoder:
        message = f"{a.label} is compared with itself; name another codec"
        raise UserError(message)
    if a.label != b.label:
        return a, b
    return replace(a, label=f"A: {a.label}"), replace(b, label=f"B: {b.label}")


def _measure(
    setup: MeasurementSetup,
    side: Side,
    name: str,
    request: EvaluationRequest,
    on_anchor: OnAnchor | None,
) -> _Measured:
    if side.program is not None:
        score = setup.measure(name, side.program)
        return _Measured(side, program_codec(side.label, side.program, score, side.held_out), score)
    assert side.encoder is not None  # noqa: S101 - a side is one or the other
    primary = primary_encoder(side.encoder.track)
    codecs, _ = anchor_codecs(
        setup,
        (primary,) if side.encoder == primary else (primary, side.encoder),
        repeat=request.repeat,
        on_anchor=on_anchor,
    )
    return _Measured(side, codecs[-1], None)


def _context(setup: MeasurementSetup, *measured: _Measured) -> tuple[Codec, ...]:
    """The primary anchor, where neither side is it."""
    primary = primary_encoder(Track(setup.settings.evaluation.track))
    if any(measured_side.side.encoder == primary for measured_side in measured):
        return ()
    return anchor_codecs(setup, (primary,))[0]


def _renderer(measured_side: _Measured, settings: Settings, stack: ExitStack) -> Renderer:
    if measured_side.side.encoder is not None:
        return anchor_renderer(measured_side.codec, measured_side.side.encoder)
    assert measured_side.side.program is not None  # noqa: S101 - a side is one or the other
    launcher = stack.enter_context(local_launcher(settings))
    return program_renderer(
        measured_side.codec, measured_side.side.program, launcher, make_limits(settings)
    )
