"""Report files: the page, CSV tables and plots, checked before the work and written after it."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evocodec.domain.errors import UserError
from evocodec.domain.results import Metric, RatePoint
from evocodec.file_kinds import PAGE, PNG, SVG, FileKind, csv_kind
from evocodec.formatting import harmless_cell
from evocodec.output_file import OutputFile, require_different
from evocodec.report.model import Codec, Report
from evocodec.report.page import html_page

COMPARISON_COLUMNS = (
    "subject",
    "reference",
    "clip",
    "metric",
    "bd_rate_percent",
    "bd_rate_pchip_percent",
    "overlap",
    "problem",
    "held_out_bitrate_mbps",
)
POINT_COLUMNS = (
    "codec",
    "kind",
    "clip",
    "width",
    "height",
    "fps",
    "frames",
    "qp",
    "bits",
    "kbit_per_second",
    *(metric.value for metric in Metric),
    "worst_frame",
    "worst_frame_psnr_y",
    "encode_wall_seconds",
    "encode_cpu_seconds",
    "decode_wall_seconds",
    "decode_cpu_seconds",
    "peak_memory_bytes",
    "bitstream_sha256",
    "held_out_bitrate_mbps",
)


def comparison_rows(report: Report) -> Iterable[Sequence[object]]:
    """One row a clip, reference and metric."""
    for found in report.comparisons:
        rate = found.bd_rate
        yield (
            report.subject.name,
            found.anchor,
            found.clip,
            found.metric.value,
            *((rate.akima_percent, rate.pchip_percent, rate.overlap) if rate else ("", "", "")),
            found.problem,
            _held_out(report.subject),
        )


def point_rows(report: Report) -> Iterable[Sequence[object]]:
    """One row a codec, clip and rate."""
    for codec in report.codecs:
        for curve in codec.curves.values():
            stream = report.clip(curve.clip).stream
            scale = float(stream.fps) / stream.frame_count / 1000
            for point in curve.points:
                yield (
                    *(codec.name, codec.kind.value, curve.clip, stream.width, stream.height),
                    *(float(stream.fps), point.frames, point.qp, point.bits, point.bits * scale),
                    *_figures(point),
                    _held_out(codec),
                )


def _held_out(codec: Codec) -> object:
    return "" if codec.held_out_bitrate_mbps is None else codec.held_out_bitrate_mbps


def _figures(point: RatePoint) -> Sequence[object]:
    cost, quality = point.cost, point.quality
    return (
        *("" if (value := quality.value(metric)) is None else value for metric in Metric),
        *(quality.worst_frame, quality.worst_frame_psnr_y_db),
        *(cost.encode_wall_seconds, cost.encode_cpu_seconds),
        *(cost.decode_wall_seconds, cost.decode_cpu_seconds),
        *(cost.peak_memory_bytes, point.bitstream_sha256),
    )


def points_name(name: str) -> str:
    """Name of the file of rate points, next to the comparisons."""
    stem, suffix = os.path.splitext(name)
    return f"{stem}-points{suffix or '.csv'}"


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The requested files of a report, all checked before anything is measured.

    ``points`` goes beside ``csv``, and is None where that is a stream. ``plots`` has a picture for
    each metric and format, by its name.
    """

    csv: OutputFile | None = None
    points: OutputFile | None = None
    html: OutputFile | None = None
    plots: Mapping[str, OutputFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse two that are one file."""
        single = (each for each in (self.csv, self.points, self.html) if each is not None)
        require_different([*single, *self.plots.values()])

    def write(self, report: Report) -> tuple[tuple[str, ...], UserError | None]:
        """Write them; returns the names of those that were written, and the first error.

        Others are written where one cannot be: what they say was measured for minutes.
        """
        written: list[str] = []
        failed: UserError | None = None
        for writing in (self._write_csv, self._write_points, self._write_plots, self._write_html):
            try:
                written += writing(report)
            except UserError as error:
                failed = failed or error
        return tuple(written), failed

    def _write_csv(self, report: Report) -> Iterable[str]:
        return _written(self.csv, lambda: _csv(COMPARISON_COLUMNS, comparison_rows(report)))

    def _write_points(self, report: Report) -> Iterable[str]:
        return _written(self.points, lambda: _csv(POINT_COLUMNS, point_rows(report)))

    def _write_html(self, report: Report) -> Iterable[str]:
        # Whatever a name has that is no text is told by its escape.
        return _written(self.html, lambda: html_page(report).encode("utf-8", "backslashreplace"))

    def _write_plots(self, report: Report) -> Iterable[str]:
        if not self.plots:
            return ()
        from evocodec.report.report_plots import write_plots

        return write_plots(report, self.plots)


def _written(output: OutputFile | None, content: Callable[[], bytes]) -> Iterable[str]:
    if output is None:
        return ()
    output.write(content())
    return (output.name,)


def report_files(
    check: Callable[[str, FileKind], OutputFile],
    *,
    csv: str | None,
    html: str | None,
    plots: str | None,
) -> ReportFiles:
    """Have every file of a report checked; raises ``UserError`` for the first that may not be."""
    table = check(csv, csv_kind(COMPARISON_COLUMNS)) if csv is not None else None
    points = None
    if csv is not None and table is not None and not table.is_stream:
        points = check(points_name(csv), csv_kind(POINT_COLUMNS))
    page = check(html, PAGE) if html is not None else None
    pictures = {}
    if plots is not None:
        if Path(plots).exists() and not Path(plots).is_dir():
            message = f"{plots} is a file, and --plots writes several pictures; name a folder"
            raise UserError(message)
        for metric in Metric:
            for kind in (PNG, SVG):
                name = f"rd-{metric.value}{kind.suffix}"
                pictures[name] = check(os.path.join(plots, name), kind)
    return ReportFiles(table, points, page, pictures)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([harmless_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
