"""Measuring one program outside of a run: review, smoke, full; the result goes to the caller."""

import threading
from collections.abc import Callable, Sequence

from evocodec.app.clips import anchored_clips, require_clips
from evocodec.app.engine import engine_options, make_policy, require_floor
from evocodec.app.reports import EvaluationReport
from evocodec.app.workspace import Workspace
from evocodec.config import Settings
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import Event
from evocodec.execution.engine import RayEngine
from evocodec.execution.staged import StagedEvaluator, StageSettings
from evocodec.sandbox.static_review import review_source
from evocodec.telemetry.bus import EventBus
from graph.services import utc_now

_CANDIDATE = "eval"


def evaluate_program(
    settings: Settings,
    workspace: Workspace,
    *,
    label: str,
    source: str,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event,
) -> EvaluationReport:
    """Measure a program at equal quality with HEVC on every configured clip.

    Raises:
        CandidateFailure: the static review refuses it, or it fails when run.
    """
    require_clips(settings)
    policy = make_policy(settings)
    review = review_source(source, policy)
    if not review.accepted:
        listed = "\n".join(f"line {f.line}: {f.message} [{f.rule}]" for f in review.findings)
        raise CandidateFailure(FailureKind.REVIEW, "the static review refuses it", detail=listed)
    bus = EventBus()
    for listener in listeners:
        bus.subscribe(listener)
    anchored = anchored_clips(settings, workspace.cache)
    engine = RayEngine(engine_options(settings, dashboard=False, evaluating=True))
    info = engine.start()
    try:
        require_floor(info.isolation, settings)
        for one in anchored.values():
            engine.put_clip(one.clip)
        evaluator = StagedEvaluator(
            engine,
            run_id="eval",
            clips={name: one.clip for name, one in anchored.items()},
            anchors={name: one.curve for name, one in anchored.items()},
            operating_db={name: one.operating_psnr_y_db for name, one in anchored.items()},
            record=bus.publish,
            recorded=lambda key: None,
            now=utc_now,
            settings=StageSettings(
                screen_frames=settings.evaluation.screen_frames,
                smoke_qp=settings.evaluation.smoke_qp,
                screen_keep_below=settings.evaluation.screen_keep_below,
                max_points=settings.evaluation.max_points,
            ),
            stop=stop,
        )
        evaluator.smoke(_CANDIDATE, 0, source)
        score = evaluator.full(_CANDIDATE, 0, source, None)
    finally:
        engine.close()
    return EvaluationReport(
        label=label + (" (existing codecs allowed)" if policy.allow_library_codecs else ""),
        score=score,
        anchors={name: one.curve for name, one in anchored.items()},
        streams={name: one.clip.stream for name, one in anchored.items()},
    )
