"""Measuring one program outside of a run: review, smoke, full; the result goes to the caller."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from evocodec.app.background import InBackground
from evocodec.app.clips import AnchoredClip, anchored_clips, require_clips
from evocodec.app.engine import (
    local_launcher,
    make_limits,
    make_policy,
    require_floor,
    require_vmaf,
    wants_vmaf,
)
from evocodec.app.measuring import EvaluationRequest, StartingEngine
from evocodec.app.plotting import FaultPictures
from evocodec.app.programs import looks_like_file
from evocodec.app.references import (
    OnAnchor,
    anchor_codecs,
    anchor_jobs,
    baseline_codec,
    baseline_notices,
    heard,
)
from evocodec.app.report.gather import (
    compare_all,
    describe_environment,
    mean_rates,
    measured_metrics,
    notices_of,
    program_facts,
)
from evocodec.app.report.model import ClipFacts, Codec, Kind, Report
from evocodec.app.report.pictures import (
    Renderer,
    anchor_renderer,
    program_renderer,
    view_clip,
    within_budget,
)
from evocodec.app.report.trade_offs import codec_trade_offs, run_trade_offs
from evocodec.app.reports import EvaluationReport
from evocodec.app.stages import reference_costs, stage_settings
from evocodec.app.workspace import Workspace
from evocodec.config import Settings
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import Event
from evocodec.domain.results import Score, Track
from evocodec.evaluation.anchor_encoders import chosen_encoders
from evocodec.evaluation.pareto import TradeOff
from evocodec.execution.contract import Engine, Interrupted
from evocodec.execution.staged import StagedEvaluator
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.static_review import review_source
from evocodec.store.views import RunView
from evocodec.telemetry.bus import EventBus

_CANDIDATE = "eval"


@dataclass(frozen=True, slots=True)
class Bench:
    """A started engine with clips and their primary anchor: programs can be measured."""

    settings: Settings
    workspace: Workspace
    anchored: Mapping[str, AnchoredClip]
    isolation: IsolationReport
    engine: Engine
    bus: EventBus
    stop: threading.Event

    def measure(self, name: str, source: str) -> Score:
        """Smoke and full; raises CandidateFailure when the program fails."""
        costs = InBackground(lambda: reference_costs(self.settings, self.anchored))
        pictures = FaultPictures(
            {name: one.curve for name, one in self.anchored.items()},
            {name: one.clip.stream for name, one in self.anchored.items()},
            self.workspace.root / "curves",
        )
        forget = self.bus.subscribe(pictures)
        evaluator = StagedEvaluator(
            self.engine,
            run_id="eval",
            clips={name: one.clip for name, one in self.anchored.items()},
            anchors={name: one.curve for name, one in self.anchored.items()},
            operating_db={name: one.operating_psnr_y_db for name, one in self.anchored.items()},
            record=self.bus.publish,
            recorded=lambda key: None,
            now=utc_now,
            settings=stage_settings(self.settings),
            stop=self.stop,
            reference_costs=costs.result,
        )
        try:
            evaluator.smoke(name, 0, source)
            return evaluator.full(name, 0, source, None)
        except CandidateFailure as failure:
            png = pictures.draw(name, 0, failure.kind, failure.message)
            if png is not None:
                failure.message += f". The curves: {png}"
            raise
        finally:
            forget()
            costs.wait()

    @property
    def clips(self) -> tuple[ClipFacts, ...]:
        """What a report says of the clips."""
        return tuple(clip_facts(one) for one in self.anchored.values())


def utc_now() -> str:
    """The time as events have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def evaluate_program(
    starting: StartingEngine,
    settings: Settings,
    workspace: Workspace,
    *,
    label: str,
    source: str,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event,
    request: EvaluationRequest | None = None,
    origin: tuple[RunView, str] | None = None,
    on_anchor: OnAnchor | None = None,
) -> EvaluationReport:
    """Measure a program at equal quality with HEVC on every configured clip.

    ``origin`` is the run that it comes from, and its candidate there.

    Raises:
        CandidateFailure: the static review refuses it, or it fails when run.
        UserError: a clip or an anchor that there is not.
    """
    request = request or EvaluationRequest()
    review(settings, source)
    encoders = chosen_encoders(settings.evaluation.anchors, Track(settings.evaluation.track))
    bench = open_bench(
        starting, settings, workspace, listeners, stop, on_anchor=on_anchor, repeat=request.repeat
    )
    # Before the slow part: a file that cannot be used should be told at once.
    baseline = baseline_codec(bench, request.baseline_files)
    score = bench.measure(_CANDIDATE, source)
    starting.engine.close()
    name = short_name(label)
    subject = program_codec(name, source, score)
    anchors, notices = anchor_codecs(bench, encoders, repeat=request.repeat, on_anchor=on_anchor)
    references = (*anchors, *((baseline,) if baseline else ()))
    report = assemble(
        bench,
        title=name,
        subject=subject,
        references=references,
        score=score,
        request=request,
        notices=(*notices, *baseline_notices(subject, baseline)),
        others=run_trade_offs(*origin, anchors[0].curves) if origin else (),
    )
    if request.pictures:
        with local_launcher(settings) as launcher:
            limits = make_limits(settings)
            report = with_views(
                report,
                bench,
                anchor_renderer(references[0], encoders[0]),
                program_renderer(subject, source, launcher, limits),
            )
    allowed = " (existing codecs allowed)" if settings.sandbox.allow_library_codecs else ""
    return EvaluationReport(label=label + allowed, score=score, report=report)


def review(settings: Settings, source: str) -> None:
    """Put a program through the static gate.

    Raises:
        CandidateFailure: it is refused.
    """
    found = review_source(source, make_policy(settings))
    if not found.accepted:
        listed = "\n".join(f"line {f.line}: {f.message} [{f.rule}]" for f in found.findings)
        raise CandidateFailure(FailureKind.REVIEW, "the static review refuses it", detail=listed)


def open_bench(
    starting: StartingEngine,
    settings: Settings,
    workspace: Workspace,
    listeners: Sequence[Callable[[Event], None]],
    stop: threading.Event,
    *,
    on_anchor: OnAnchor | None = None,
    repeat: bool = False,
) -> Bench:
    """Load the clips and their anchor while the engine starts."""
    require_clips(settings)
    require_vmaf(settings, evaluating=True)
    bus = EventBus()
    for listener in listeners:
        bus.subscribe(listener)
    anchored = anchored_clips(
        settings,
        workspace.cache,
        on_event=lambda event: heard(event, stop, on_anchor),
        jobs=anchor_jobs(),
        fresh=repeat,
        vmaf=wants_vmaf(settings, evaluating=True),
    )
    info = starting.ready()
    require_floor(info.isolation, settings)
    for one in anchored.values():
        starting.engine.put_clip(one.clip)
    return Bench(settings, workspace, anchored, info.isolation, starting.engine, bus, stop)


def short_name(ref: str) -> str:
    """What a report calls a program: a file by its name alone, wherever it lies."""
    return Path(ref).name if looks_like_file(ref) else ref


def program_codec(label: str, source: str, score: Score) -> Codec:
    """A measured program as one side of a comparison."""
    return Codec(
        name=label,
        kind=Kind.PROGRAM,
        curves={clip.clip: replace(clip.curve, codec=label) for clip in score.clips},
        program=program_facts(source),
        encode_time_ratio=score.encode_time_ratio,
        decode_time_ratio=score.decode_time_ratio,
    )


def assemble(
    bench: Bench,
    *,
    title: str,
    subject: Codec,
    references: tuple[Codec, ...],
    score: Score | None,
    request: EvaluationRequest,
    difference: str = "",
    notices: Sequence[str] = (),
    others: Sequence[TradeOff] = (),
) -> Report:
    """Compare everything that was measured, and add what a reader needs to judge it."""
    level = bench.settings.evaluation.confidence
    curves = [curve for codec in (subject, *references) for curve in codec.curves.values()]
    metrics = measured_metrics(request.metrics, curves)
    comparisons = compare_all(subject, references, bench.clips, metrics)
    return Report(
        title=title,
        subject=subject,
        references=references,
        clips=bench.clips,
        metrics=metrics,
        comparisons=comparisons,
        score=score,
        environment=describe_environment(bench.isolation, request.command, utc_now()),
        confidence=level,
        notices=(*notices_of(bench.settings, subject), *notices),
        means=mean_rates(comparisons, level),
        difference=difference,
        trade_offs=(*codec_trade_offs(subject, references, bench.clips), *others),
    )


def with_views(report: Report, bench: Bench, reference: Renderer, subject: Renderer) -> Report:
    """Add what both look like, on every clip that both were measured on."""
    vmaf = wants_vmaf(bench.settings, evaluating=True)
    views = []
    for name, one in bench.anchored.items():
        if bench.stop.is_set():
            raise Interrupted("stopped; nothing was written")
        if name in reference.codec.curves and name in subject.codec.curves:
            views.append(
                view_clip(one.clip, reference, subject, one.operating_psnr_y_db, vmaf=vmaf)
            )
    return replace(report, views=within_budget(views))


def clip_facts(one: AnchoredClip) -> ClipFacts:
    """A clip as a report describes it."""
    clip = one.clip
    return ClipFacts(
        name=clip.name,
        stream=clip.stream,
        sha256=clip.sha256,
        origin=clip.source.origin,
        licence=clip.source.licence,
        operating_psnr_y_db=one.operating_psnr_y_db,
    )
