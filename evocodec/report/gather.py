"""Report facts from measured curves: comparisons, means, the machine and its software."""

import importlib.metadata
import os
import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evocodec import __version__
from evocodec.codec.program import Program
from evocodec.config import Settings
from evocodec.curves.bd_rate import MIN_POINTS
from evocodec.curves.confidence import mean_interval
from evocodec.domain.results import Comparison, Metric, RdCurve
from evocodec.metrics.psnr import FRAME_LEAD_DB
from evocodec.report.model import ClipFacts, Codec, Environment, Mean, ReportedProgram
from evocodec.sandbox.launcher import IsolationReport
from evocodec.video.ffmpeg import ffmpeg_version

_LIBRARIES = ("numpy", "opencv-python-headless", "constriction", "scipy", "numba", "torch")


def program_facts(program: Program, charged_bytes: int = 0) -> ReportedProgram:
    """Size and identity of a program, and how much of it is added to every stream."""
    return ReportedProgram(
        sha256=program.sha256,
        source_bytes=len(program.data),
        packed_bytes=program.facts.packed_bytes,
        lines=len(program.text.splitlines()),
        charged_bytes=charged_bytes,
    )


def measured_metrics(wanted: Sequence[str], curves: Iterable[RdCurve]) -> tuple[Metric, ...]:
    """Return the requested metrics that every rate point of some clip has."""
    chosen = [metric for metric in Metric if not wanted or metric.value in wanted]
    by_clip: dict[str, list[RdCurve]] = {}
    for curve in curves:
        by_clip.setdefault(curve.clip, []).append(curve)
    return tuple(
        metric
        for metric in chosen
        if any(all(has_metric(curve, metric) for curve in each) for each in by_clip.values())
    )


def has_metric(curve: RdCurve, metric: Metric) -> bool:
    """Whether every point of a curve carries a metric."""
    return all(point.quality.value(metric) is not None for point in curve.points)


def compare_all(
    subject: Codec,
    references: Sequence[Codec],
    clips: Sequence[ClipFacts],
    metrics: Sequence[Metric],
) -> tuple[Comparison, ...]:
    """The subject against every reference on every clip, for every metric that both have."""
    from evocodec.curves.compare import compare_curves

    found: list[Comparison] = []
    for reference in references:
        for clip in clips:
            anchor, test = reference.curves.get(clip.name), subject.curves.get(clip.name)
            if anchor is None or test is None:
                continue
            both = [m for m in metrics if has_metric(anchor, m) and has_metric(test, m)]
            found += compare_curves(anchor, test, both)
    return tuple(found)


def within_range(curve: RdCurve, primary: RdCurve) -> RdCurve:
    """Leave out points above the primary anchor's best quality, while four points remain.

    Encoders whose scale goes on to lossless have points there that nobody asked about, and the
    shared range is a share of theirs.
    """
    best = max(point.quality.psnr_y_db for point in primary.points)
    points = sorted(curve.points, key=lambda point: point.quality.psnr_y_db)
    while len(points) > MIN_POINTS and points[-1].quality.psnr_y_db > best:
        points.pop()
    kept = {point.qp for point in points}
    return replace(curve, points=tuple(point for point in curve.points if point.qp in kept))


def mean_rates(
    comparisons: Sequence[Comparison], level: float
) -> Mapping[tuple[str, Metric], Mean]:
    """Mean BD-rate over clips, by reference and metric, of those that could be compared."""
    values: dict[tuple[str, Metric], list[float]] = {}
    for comparison in comparisons:
        if comparison.bd_rate is not None:
            values.setdefault((comparison.anchor, comparison.metric), []).append(
                comparison.bd_rate.akima_percent
            )
    return {
        key: Mean(sum(each) / len(each), mean_interval(each, level), len(each))
        for key, each in values.items()
    }


def describe_environment(
    isolation: IsolationReport, command: Sequence[str], measured_at: str
) -> Environment:
    """The machine, the versions and the sandbox's layers."""
    versions = {"evocodec": __version__, "python": platform.python_version()}
    versions |= {name: found for name in _LIBRARIES if (found := _version(name))}
    versions["ffmpeg"] = ffmpeg_version()
    return Environment(
        measured_at=measured_at,
        command=shlex.join(command),
        machine=_machine(),
        versions=versions,
        isolation=dict(isolation.layers),
    )


def notices_of(settings: Settings, subject: Codec) -> tuple[str, ...]:
    """Return warnings that a reader needs before believing a number."""
    found = []
    if settings.sandbox.allow_library_codecs:
        found.append("Existing codecs were allowed: this program may call one.")
    if settings.sandbox.unsafe:
        found.append(
            "Measured with --unsafe: layers of the sandbox were missing, so the program could "
            "have reached more than it should."
        )
    if subject.program is not None and subject.program.charged_bytes:
        found.append(
            f"{subject.program.charged_bytes} bytes of the compressed program are counted in every "
            "stream (limits.charge_program)."
        )
    if settings.evaluation.track == "low_delay":
        found.append(
            "Low-delay track: the anchors do not look ahead. Nothing checks that the program does "
            "not."
        )
    for clip, curve in subject.curves.items():
        limited = max((point.quality.limited_frames or 0 for point in curve.points), default=0)
        if limited:
            found.append(
                f"{clip}: up to {limited} of {curve.points[0].frames} frames are more than "
                f"{FRAME_LEAD_DB:g} dB better than the clip as a whole (black, still or lossless); "
                f"they count as {FRAME_LEAD_DB:g} dB better, or they would make the mean."
            )
    if sum(len(curve.points) > 0 for curve in subject.curves.values()) == 1:
        found.append("One clip only: there is no interval, and no claim beyond this clip.")
    return tuple(found)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{cpu}, {os.cpu_count()} CPUs, {memory:.0f} GiB, {platform.system()} {platform.release()}"
    )
