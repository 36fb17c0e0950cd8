"""Contents of the HTML report's sections that templates do not compute: tiles, costs, charts."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from evocodec.anchors.measure import operating_bits
from evocodec.curves.rd_curve import METRIC_NAMES, unit_of
from evocodec.domain.results import Cost, Metric
from evocodec.formatting import interval, number, percent, size
from evocodec.report.charts import Chart, FrameValues, frame_chart, rd_chart
from evocodec.report.drawn_curve import kbit_per_second
from evocodec.report.model import (
    ClipFacts,
    Codec,
    FrameCrops,
    Report,
    View,
    frame_values,
)
from evocodec.report.pictures import ERROR_GAIN
from evocodec.report.trade_off_chart import trade_off_chart

SLOTS = 9
"""Colours in the style sheet; codecs after that begin again with the first."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One large figure at the top of the page."""

    name: str
    figure: str
    unit: str
    note: str


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """Encoding or decoding: seconds are a frame's, ``ratio`` is to the first reference."""

    frames_per_second: float | None
    cpu_seconds: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class CostRow:
    """Cost of one codec over all its rate points."""

    codec: Codec
    encode: PhaseCost
    decode: PhaseCost
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class TradeOffs:
    """Bits against decode time: the chart, whether a run's candidates are in it, who is not."""

    drawing: Chart
    others: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shot:
    """One image of a frame."""

    name: str
    note: str
    png_base64: str


def tiles(report: Report) -> Iterator[Tile]:
    """The figures that the page begins with."""
    score, subject = report.score, report.subject
    if score is not None:
        spread = score.bitrate_interval_mbps
        note = "HEVC is 10.00 by definition"
        if spread is not None:
            note = f"{number(spread.low)} … {number(spread.high)}; HEVC is 10.00"
        yield Tile("at equal quality", number(score.bitrate_mbps), "Mbit/s", note)
        worst = percent((score.worst_clip_ratio - 1) * 100)
        yield Tile(
            "compression",
            number(score.compression_ratio, 1),
            ": 1",
            f"worst clip {score.worst_clip}, {worst}",
        )
    if subject.held_out_bitrate_mbps is not None:
        unseen = number(subject.held_out_bitrate_mbps)
        yield Tile("on held-out clips", unseen, "Mbit/s", "measured in the run it comes from")
    for metric in (Metric.VMAF, Metric.MS_SSIM):
        mean = report.mean(report.references[0].name, metric)
        if mean is not None:
            name = f"BD-rate, {METRIC_NAMES[metric]}"
            yield Tile(name, percent(mean.percent), "", interval(mean.interval))
    cost = subject.cost
    if cost.encode_wall_seconds > 0:
        encoded, decoded = (
            number(_per_second(cost.frames, seconds), 1)
            for seconds in (cost.encode_wall_seconds, cost.decode_wall_seconds)
        )
        yield Tile("encodes", encoded, "frames/s", f"decodes {decoded} frames/s")
    if subject.program is not None:
        packed = size(subject.program.packed_bytes)
        yield Tile("program", size(subject.program.source_bytes), "", f"{packed} compressed")


def costs(report: Report) -> tuple[CostRow, ...]:
    """A row for each codec, beside the first reference."""
    base = report.references[0].cost
    return tuple(
        CostRow(
            codec,
            _phase(codec.cost, base, "encode"),
            _phase(codec.cost, base, "decode"),
            codec.cost.peak_memory_bytes,
        )
        for codec in report.codecs
    )


def clip_chart(report: Report, clip: ClipFacts, metric: Metric) -> Chart | None:
    """Every codec's curve on one clip; None where nothing has this metric."""
    return rd_chart(
        [
            (index % SLOTS, codec.curves[clip.name])
            for index, codec in enumerate(report.codecs)
            if clip.name in codec.curves
        ],
        metric,
        clip.stream,
        title=f"{METRIC_NAMES[metric]} over bitrate on {clip.name}",
        mark_kbps=kbit_per_second(operating_bits(clip.stream), clip.stream),
    )


def trade_offs(report: Report) -> TradeOffs | None:
    """Bits against decode time, where there is more than one codec to show."""
    if len(report.trade_offs) < 2:
        return None
    slots = {codec.name: index % SLOTS for index, codec in enumerate(report.codecs)}
    shown = {point.label for point in report.trade_offs}
    return TradeOffs(
        trade_off_chart(
            report.trade_offs,
            slots,
            base=report.references[0].name,
            title="Bits over decode time of every codec",
        ),
        others=bool(shown - set(slots)),
        missing=tuple(codec.name for codec in report.codecs if codec.name not in shown),
    )


def frame_charts(view: View) -> Iterator[tuple[str, Chart]]:
    """Qualities by frame, as far as they were computed, each with the metric's name."""
    for metric in (Metric.PSNR_Y, Metric.VMAF):
        drawn = [
            FrameValues(coded.codec, slot, values)
            for slot, coded in enumerate((view.subject, view.reference))
            if (values := frame_values(coded.series, metric))
        ]
        if drawn:
            name = METRIC_NAMES[metric]
            yield (
                name,
                frame_chart(
                    drawn,
                    title=f"{name} by frame on {view.clip}",
                    y_label=f"{name}{unit_of(metric)}",
                    shown_frames=[picture.frame for picture in view.pictures],
                ),
            )


def shots(view: View, picture: FrameCrops) -> Iterator[Shot]:
    """The source, both renderings, and the error of the subject's."""
    reference, subject, index = view.reference, view.subject, picture.frame
    for data, name, note in (
        (picture.source, "source", ""),
        (picture.reference, reference.codec, f"{reference.series.psnr_y_db[index]:.2f} dB"),
        (picture.subject, subject.codec, f"{subject.series.psnr_y_db[index]:.2f} dB"),
        (picture.error, f"error of {subject.codec}, ×{ERROR_GAIN}", ""),
    ):
        yield Shot(name, note, base64.b64encode(data).decode())


def _phase(found: Cost, base: Cost, phase: str) -> PhaseCost:
    encoding = phase == "encode"
    ours, theirs = (_cpu_seconds(cost, encoding=encoding) for cost in (found, base))
    wall = found.encode_wall_seconds if encoding else found.decode_wall_seconds
    return PhaseCost(
        _per_second(found.frames, wall),
        ours,
        None if ours is None or theirs is None else ours / theirs,
    )


def _cpu_seconds(found: Cost, *, encoding: bool) -> float | None:
    """CPU seconds a frame, None where they were not measured."""
    seconds = found.encode_cpu_seconds if encoding else found.decode_cpu_seconds
    return seconds / found.frames if found.frames and seconds > 0 else None


def _per_second(frames: int, seconds: float) -> float | None:
    return frames / seconds if seconds > 0 else None
