"""Bits against decode time: the codecs of a report, and the other candidates of a program's run."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from evocodec.domain.results import Metric, RdCurve
from evocodec.report.gather import compare_all
from evocodec.report.model import ClipFacts, Codec, Kind
from evocodec.report.pareto import TradeOff
from evocodec.views.run import RunView


def codec_trade_offs(
    subject: Codec, references: Sequence[Codec], clips: Sequence[ClipFacts]
) -> tuple[TradeOff, ...]:
    """Mean BD-rate (PSNR-Y) against the first reference, and decode CPU time a frame.

    A codec without a BD-rate on every clip, or without a decode time, is left out: a mean over
    other clips would be another number.
    """
    base = references[0]
    found = [_point(base.name, 0.0, base)]
    for codec in (subject, *references[1:]):
        rates = [
            comparison.bd_rate.akima_percent
            for comparison in compare_all(codec, (base,), clips, (Metric.PSNR_Y,))
            if comparison.bd_rate is not None
        ]
        if len(rates) == len(clips):
            found.append(_point(codec.name, fmean(rates), codec))
    return tuple(point for point in found if point is not None)


def run_trade_offs(
    run: RunView, candidate_id: str, primary: Mapping[str, RdCurve]
) -> tuple[TradeOff, ...]:
    """The other fully evaluated candidates of a run, if its clips and anchor are ``primary``'s."""
    known = {anchor.curve.clip: anchor.curve for anchor in run.anchors}
    if not all(clip in known and _same(known[clip], curve) for clip, curve in primary.items()):
        return ()
    return tuple(_others(run, candidate_id, set(primary)))


def _others(run: RunView, candidate_id: str, clips: set[str]) -> Iterator[TradeOff]:
    for candidate in run.candidates:
        score = candidate.score
        if score is None or candidate.candidate_id == candidate_id:
            continue
        curves = {result.clip: result.curve for result in score.clips}
        tag = f" ({candidate.adoption.tag})" if candidate.adoption else ""
        label = candidate.candidate_id + tag
        point = _point(label, score.bd_rate_percent, Codec(label, Kind.PROGRAM, curves))
        if point is not None and set(curves) == clips:
            yield point


def _point(label: str, bd_rate_percent: float, codec: Codec) -> TradeOff | None:
    cost = codec.cost
    if not cost.frames or cost.decode_cpu_seconds <= 0:
        return None
    return TradeOff(label, bd_rate_percent, 1000 * cost.decode_cpu_seconds / cost.frames)


def _same(first: RdCurve, other: RdCurve) -> bool:
    """Whether two curves are of the same bits, and so of the same samples and settings."""
    return [(p.qp, p.bits) for p in first.points] == [(p.qp, p.bits) for p in other.points]
