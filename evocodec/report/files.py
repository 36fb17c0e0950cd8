"""Report files besides HTML: CSV tables and plots."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from evocodec.domain.errors import UserError
from evocodec.domain.results import Metric, RatePoint
from evocodec.report.model import Report
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
                )


def _figures(point: RatePoint) -> Sequence[object]:
    cost, quality = point.cost, point.quality
    return (
        *("" if (value := quality.value(metric)) is None else value for metric in Metric),
        *(quality.worst_frame, quality.worst_frame_psnr_y_db),
        *(cost.encode_wall_seconds, cost.encode_cpu_seconds),
        *(cost.decode_wall_seconds, cost.decode_cpu_seconds),
        *(cost.peak_memory_bytes, point.bitstream_sha256),
    )


def points_path(path: Path) -> Path:
    """Path of the file of rate points, next to the comparisons."""
    return path.with_name(f"{path.stem}-points{path.suffix or '.csv'}")


def write_csv(report: Report, path: Path) -> tuple[Path, Path]:
    """Write the comparisons, and the rate points beside them."""
    points = points_path(path)
    write_text(path, _csv(COMPARISON_COLUMNS, comparison_rows(report)))
    write_text(points, _csv(POINT_COLUMNS, point_rows(report)))
    return path, points


def write_html(report: Report, path: Path) -> Path:
    """Write the HTML report."""
    write_text(path, html_page(report))
    return path


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _harmless(cell: object) -> object:
    # A spreadsheet runs a text that begins so as a formula, and names come from outside.
    if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@"}:
        return f"'{cell}"
    return cell


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}; name another file"
        raise UserError(message) from error
    finally:
        if partial.is_file():
            partial.unlink()


def require_writable(paths: Iterable[Path]) -> None:
    """Refuse output that cannot be written before anything is measured.

    Raises:
        UserError: a folder stands where a file is meant, or the folder above cannot be made.
    """
    for path in paths:
        if path.is_dir():
            message = f"{path} is a folder; name a file in it"
            raise UserError(message)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab"):
                pass
            if path.stat().st_size == 0:
                path.unlink()
        except OSError as error:
            message = f"cannot write {path}: {error.strerror or error}; name another file"
            raise UserError(message) from error
