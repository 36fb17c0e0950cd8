"""Evaluation outside of a run: of one program, or of two side by side; nothing is adopted.

The engine starts in processes of its own while this one imports what measures.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from evocodec.app.evaluation_request import EvaluationRequest, starting_engine
from evocodec.app.laboratory import Laboratory
from evocodec.domain.events import Event

if TYPE_CHECKING:
    from evocodec.app.anchor_progress import OnAnchor
    from evocodec.app.outputs import EvaluationReport
    from evocodec.report.model import Report


def evaluate(
    lab: Laboratory,
    ref: str,
    request: EvaluationRequest,
    *,
    listeners: Sequence[Callable[[Event], None]] = (),
    stop: threading.Event | None = None,
    on_anchor: "OnAnchor | None" = None,
) -> "EvaluationReport":
    """Measure a program on the configured clips.

    Raises:
        UserError: nothing is called ``ref``.
        CandidateFailure: the program was refused or failed.
    """
    program, origin = lab.resolver.program(ref)[1], lab.resolver.origin(ref)
    with starting_engine(lab.settings) as starting:
        from evocodec.app.program_evaluation import evaluate_program

        return evaluate_program(
            starting,
            lab.settings,
            lab.workspace,
            label=ref,
            program=program,
            request=request,
            origin=origin,
            listeners=listeners,
            stop=stop or threading.Event(),
            on_anchor=on_anchor,
        )


def compare(
    lab: Laboratory,
    names: tuple[str, str],
    request: EvaluationRequest,
    *,
    listeners: Sequence[Callable[[Event], None]] = (),
    stop: threading.Event | None = None,
    on_anchor: "OnAnchor | None" = None,
) -> "Report":
    """Set two programs or anchors against each other, the second against the first.

    Raises:
        UserError: nothing has one of the names.
        CandidateFailure: one of the programs was refused or failed.
    """
    from evocodec.app.comparison import compare_sides, find_side

    a, b = (find_side(name, lab) for name in names)
    with starting_engine(lab.settings) as starting:
        return compare_sides(
            starting,
            lab.settings,
            lab.workspace,
            a,
            b,
            listeners=listeners,
            stop=stop or threading.Event(),
            request=request,
            on_anchor=on_anchor,
        )
