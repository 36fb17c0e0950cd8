"""Report of one or two measured codecs."""

from collections.abc import Sequence
from dataclasses import replace

from evocodec.anchors.encoders import AnchorEncoder
from evocodec.app.anchor_progress import OnAnchor
from evocodec.app.clips import AnchoredClip
from evocodec.app.engine import local_launcher, make_limits, wants_vmaf
from evocodec.app.evaluation_request import EvaluationRequest
from evocodec.app.measurement_setup import MeasurementSetup
from evocodec.app.reference_codecs import anchor_codecs, baseline_notices
from evocodec.codec.program import Program
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import Interrupted
from evocodec.domain.results import HeldOutResult, Score
from evocodec.report.gather import (
    compare_all,
    describe_environment,
    mean_rates,
    measured_metrics,
    notices_of,
    program_facts,
)
from evocodec.report.model import ClipFacts, Codec, Kind, Report
from evocodec.report.pareto import TradeOff
from evocodec.report.pictures import (
    Renderer,
    anchor_renderer,
    program_renderer,
    view_clip,
    within_budget,
)
from evocodec.report.trade_offs import codec_trade_offs, run_trade_offs
from evocodec.views.run import RunView


def program_report(
    setup: MeasurementSetup,
    *,
    name: str,
    program: Program,
    score: Score,
    encoders: Sequence[AnchorEncoder],
    baseline: Codec | None,
    request: EvaluationRequest,
    origin: tuple[RunView, str] | None,
    on_anchor: OnAnchor | None,
) -> Report:
    """Set a measured program against real encoders; these are measured where they are not known.

    ``origin`` is the run that it comes from, and its candidate there.
    """
    subject = program_codec(name, program, score, held_out_of(origin))
    anchors, notices = anchor_codecs(setup, encoders, repeat=request.repeat, on_anchor=on_anchor)
    references = (*anchors, *((baseline,) if baseline else ()))
    report = assemble(
        setup,
        title=name,
        subject=subject,
        references=references,
        score=score,
        request=request,
        notices=(
            *held_out_notices(held_out_of(origin)),
            *notices,
            *baseline_notices(subject, baseline),
        ),
        others=run_trade_offs(*origin, anchors[0].curves) if origin else (),
    )
    if not request.pictures:
        return report
    with local_launcher(setup.settings) as launcher:
        return with_views(
            report,
            setup,
            anchor_renderer(references[0], encoders[0]),
            program_renderer(subject, program, launcher, make_limits(setup.settings)),
        )


def held_out_of(origin: tuple[RunView, str] | None) -> HeldOutResult | None:
    """What the run that a program comes from measured on held-out clips."""
    candidate = origin[0].candidate(origin[1]) if origin else None
    return candidate.held_out if candidate else None


def held_out_notices(result: HeldOutResult | None, label: str = "it") -> tuple[str, ...]:
    """The figure on held-out clips, where the program comes from a run that measured it."""
    if result is None or result.bitrate_mbps is None:
        return ()
    word = "passed" if result.passed else "did not pass"
    return (
        f"On {result.clips} held-out clips, which nobody tuned on, {label} needed "
        f"{result.bitrate_mbps:.2f} Mbit/s where HEVC needs 10; it {word} that gate in its run.",
    )


def program_codec(
    label: str, program: Program, score: Score, held_out: HeldOutResult | None = None
) -> Codec:
    """A measured program as one side of a comparison."""
    return Codec(
        name=label,
        kind=Kind.PROGRAM,
        curves={clip.clip: replace(clip.curve, codec=label) for clip in score.clips},
        program=program_facts(program, score.charged_program_bytes),
        encode_time_ratio=score.encode_time_ratio,
        decode_time_ratio=score.decode_time_ratio,
        held_out_bitrate_mbps=held_out.bitrate_mbps if held_out else None,
    )


def assemble(
    setup: MeasurementSetup,
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
    clips = tuple(clip_facts(anchored_clip) for anchored_clip in setup.anchored.values())
    level = setup.settings.evaluation.confidence
    curves = [curve for codec in (subject, *references) for curve in codec.curves.values()]
    metrics = measured_metrics(request.metrics, curves)
    comparisons = compare_all(subject, references, clips, metrics)
    return Report(
        title=title,
        subject=subject,
        references=references,
        clips=clips,
        metrics=metrics,
        comparisons=comparisons,
        score=score,
        environment=describe_environment(setup.isolation, request.command, utc_now()),
        confidence=level,
        notices=(*notices_of(setup.settings, subject), *clip_notices(setup), *notices),
        means=mean_rates(comparisons, level),
        difference=difference,
        trade_offs=(*codec_trade_offs(subject, references, clips), *others),
    )


def clip_notices(setup: MeasurementSetup) -> tuple[str, ...]:
    """What was chosen or assumed in reading each clip's file."""
    return tuple(
        f"{name}: {notice}."
        for name, anchored_clip in setup.anchored.items()
        for notice in anchored_clip.clip.notices
    )


def with_views(
    report: Report, setup: MeasurementSetup, reference: Renderer, subject: Renderer
) -> Report:
    """Add what both look like, on every clip that both were measured on."""
    vmaf = wants_vmaf(setup.settings, evaluating=True)
    views = []
    for name, anchored_clip in setup.anchored.items():
        if setup.stop.is_set():
            raise Interrupted("stopped; nothing was written")
        if name in reference.codec.curves and name in subject.codec.curves:
            views.append(
                view_clip(
                    anchored_clip.clip,
                    reference,
                    subject,
                    anchored_clip.operating_psnr_y_db,
                    vmaf=vmaf,
                )
            )
    return replace(report, views=within_budget(views))


def clip_facts(anchored_clip: AnchoredClip) -> ClipFacts:
    """A clip as a report describes it."""
    clip = anchored_clip.clip
    return ClipFacts(
        name=clip.name,
        stream=clip.stream,
        sha256=clip.sha256,
        origin=clip.source.origin,
        licence=clip.source.licence,
        operating_psnr_y_db=anchored_clip.operating_psnr_y_db,
    )
