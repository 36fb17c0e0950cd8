"""Setup of a measurement outside of a run: clips, their anchor curves, and a started engine.

Light, because a command waits for it: what reports need is imported while a program is measured.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evocodec.app.anchor_progress import OnAnchor, anchor_jobs, forward_anchor_event
from evocodec.app.background import InBackground
from evocodec.app.clips import AnchoredClip, anchored_clips, loading, require_clips
from evocodec.app.engine import make_policy, require_floor, require_vmaf, wants_vmaf
from evocodec.app.evaluation_request import StartingEngine
from evocodec.app.stage_settings import reference_costs, stage_settings
from evocodec.app.workspace import Workspace
from evocodec.codec.program import Program
from evocodec.config import Settings
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import Event
from evocodec.domain.results import Score
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.execution.engine import Engine
from evocodec.report.run_plots import FaultPictures
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.review.analysis import analyse_apart
from evocodec.telemetry.bus import EventBus


@dataclass(frozen=True, slots=True)
class MeasurementSetup:
    """A started engine with clips and their primary anchor: programs can be measured."""

    settings: Settings
    workspace: Workspace
    anchored: Mapping[str, AnchoredClip]
    isolation: IsolationReport
    engine: Engine
    bus: EventBus
    stop: threading.Event

    def measure(self, name: str, program: Program) -> Score:
        """Smoke and full; raises CandidateFailure when the program fails."""
        costs = InBackground(lambda: reference_costs(self.settings, self.anchored))
        pictures = FaultPictures(
            {name: anchored_clip.curve for name, anchored_clip in self.anchored.items()},
            {name: anchored_clip.clip.stream for name, anchored_clip in self.anchored.items()},
            self.workspace.root / "curves",
        )
        forget = self.bus.subscribe(pictures)
        evaluator = StagedEvaluator(
            self.engine,
            run_id="eval",
            clips={name: anchored_clip.clip for name, anchored_clip in self.anchored.items()},
            anchors={name: anchored_clip.curve for name, anchored_clip in self.anchored.items()},
            operating_db={
                name: anchored_clip.operating_psnr_y_db
                for name, anchored_clip in self.anchored.items()
            },
            record=self.bus.publish,
            recorded=lambda key: None,
            now=utc_now,
            settings=stage_settings(self.settings),
            stop=self.stop,
            reference_costs=costs.result,
        )
        try:
            evaluator.smoke(name, 0, program)
            return evaluator.full(name, 0, program, None)
        except CandidateFailure as failure:
            png = pictures.draw(name, 0, failure.kind, failure.message)
            if png is not None:
                failure.message += f". The curves: {png}"
            raise
        finally:
            forget()
            costs.wait()


def reviewed(settings: Settings, program: Program) -> Program:
    """Put a program through the static gate, and return it analysed.

    Raises:
        CandidateFailure: it is refused.
    """
    found = analyse_apart(program, make_policy(settings))
    if not found.review.accepted:
        findings = found.review.findings
        listed = "\n".join(f"line {f.line}: {f.message} [{f.rule}]" for f in findings)
        raise CandidateFailure(FailureKind.REVIEW, "the static review refuses it", detail=listed)
    return found.program


def open_setup(
    starting: StartingEngine,
    settings: Settings,
    workspace: Workspace,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event,
    *,
    on_anchor: OnAnchor | None = None,
    repeat: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> MeasurementSetup:
    """Load the clips and their anchor while the engine starts.

    ``meanwhile`` is done while the clips decode; what it raises ends everything.
    """
    require_clips(settings)
    require_vmaf(settings, evaluating=True)
    bus = EventBus()
    for listener in listeners:
        bus.subscribe(listener)
    with loading(settings) as clips:
        meanwhile()
        anchored = anchored_clips(
            settings,
            workspace.cache,
            clips=clips,
            on_event=lambda event: forward_anchor_event(event, stop, on_anchor),
            jobs=anchor_jobs(),
            fresh=repeat,
            vmaf=wants_vmaf(settings, evaluating=True),
        )
    info = starting.ready()
    require_floor(info.isolation, settings)
    for anchored_clip in anchored.values():
        starting.engine.put_clip(anchored_clip.clip)
    return MeasurementSetup(
        settings, workspace, anchored, info.isolation, starting.engine, bus, stop
    )
