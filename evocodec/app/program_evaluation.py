"""Evaluation of one program outside of a run: review, smoke, full."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from evocodec.anchors.encoders import chosen_encoders
from evocodec.app.anchor_progress import OnAnchor
from evocodec.app.evaluation_request import EvaluationRequest, StartingEngine
from evocodec.app.measurement_setup import open_setup, reviewed
from evocodec.app.programs import short_name
from evocodec.app.workspace import Workspace
from evocodec.codec.program import Program
from evocodec.config import Settings
from evocodec.domain.events import Event
from evocodec.domain.results import Track
from evocodec.views.run import RunView

if TYPE_CHECKING:
    from evocodec.app.outputs import EvaluationReport

_CANDIDATE = "eval"


def evaluate_program(
    starting: StartingEngine,
    settings: Settings,
    workspace: Workspace,
    *,
    label: str,
    program: Program,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event,
    request: EvaluationRequest,
    origin: tuple[RunView, str] | None = None,
    on_anchor: OnAnchor | None = None,
) -> "EvaluationReport":
    """Measure a program at equal quality with HEVC on every configured clip.

    ``origin`` is the run that it comes from, and its candidate there.

    Raises:
        CandidateFailure: the static review refuses it, or it fails when run.
        UserError: a clip or an anchor that there is not.
    """
    encoders = chosen_encoders(settings.evaluation.anchors, Track(settings.evaluation.track))

    def review() -> None:
        nonlocal program
        program = reviewed(settings, program)

    setup = open_setup(
        *(starting, settings, workspace, listeners, stop),
        on_anchor=on_anchor,
        repeat=request.repeat,
        meanwhile=review,
    )
    baseline = None
    if request.baseline_files:
        from evocodec.app.reference_codecs import baseline_codec

        # Before the slow part: an unusable file should be reported at once.
        baseline = baseline_codec(setup, request.baseline_files)
    score = setup.measure(_CANDIDATE, program)
    starting.engine.close()
    from evocodec.app.outputs import EvaluationReport
    from evocodec.app.program_report import program_report

    report = program_report(
        setup,
        name=short_name(label),
        program=program,
        score=score,
        encoders=encoders,
        baseline=baseline,
        request=request,
        origin=origin,
        on_anchor=on_anchor,
    )
    allowed = " (existing codecs allowed)" if settings.sandbox.allow_library_codecs else ""
    return EvaluationReport(label=label + allowed, score=score, report=report)
