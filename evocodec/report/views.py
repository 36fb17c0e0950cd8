"""The part of the HTML report that shows frames: charts by frame, and images side by side."""

import base64
from collections.abc import Iterator
from html import escape

from evocodec.domain.results import Metric
from evocodec.report.charts import Line, frame_chart
from evocodec.report.format import number, quality
from evocodec.report.markup import figure, table
from evocodec.report.model import METRIC_NAMES, Picture, Report, View, frame_values, metric_unit
from evocodec.report.pictures import ERROR_GAIN


def frames(report: Report) -> Iterator[str]:
    """Frame by frame, and what the worst frames look like."""
    if not report.views:
        return
    yield "<h2>Frames</h2>"
    yield (
        '<p class="note">Each clip was coded once more by both, at nearly the same rate: '
        f"{escape(report.subject.name)} at its measured point nearest to the operating quality, "
        f"{escape(report.references[0].name)} at the rate whose bits come nearest to that. The "
        f"error is the difference of luma from the source, ×{ERROR_GAIN}. Pictures larger than the "
        "page are cut to the window with the greatest error.</p>"
    )
    for view in report.views:
        yield from _view(report, view)


def _view(report: Report, view: View) -> Iterator[str]:
    clip = report.clip(view.clip)
    scale = float(clip.stream.fps) / clip.stream.frame_count / 1000
    lines = [(slot, coded) for slot, coded in ((0, view.subject), (1, view.reference))]
    more = (view.subject.bits / view.reference.bits - 1) * 100
    yield f"<h3>{escape(view.clip)}</h3>"
    for metric in (Metric.PSNR_Y, Metric.VMAF):
        drawn = [
            Line(coded.codec, slot, range(len(values)), values)
            for slot, coded in lines
            if (values := frame_values(coded.series, metric))
        ]
        if metric is Metric.PSNR_Y:
            yield '<div class="grid2">'
        if drawn:
            chart = frame_chart(
                drawn,
                title=f"{METRIC_NAMES[metric]} by frame on {view.clip}",
                y_label=f"{METRIC_NAMES[metric]} {metric_unit(metric)}".strip(),
                tunables=[picture.frame for picture in view.pictures],
            )
            yield figure(chart, f"{METRIC_NAMES[metric]} by frame")
    yield "</div>"
    yield _view_table(view, scale)
    share = f"{number(abs(more), 1)} % {'more' if more > 0 else 'fewer'} bits"
    yield (
        f'<p class="note">Here {escape(view.subject.codec)} spends {share} than '
        f"{escape(view.reference.codec)}.</p>"
    )
    for picture in view.pictures:
        yield _shots(view, picture)


def _view_table(view: View, scale: float) -> str:
    rows = []
    for coded in (view.subject, view.reference):
        found = coded.quality
        rows.append(
            f'<th scope="row">{escape(coded.codec)}</th><td>{coded.qp:g}</td>'
            f"<td>{number(coded.bits * scale, 1)}</td><td>{number(found.psnr_y_db)}</td>"
            f"<td>{number(found.worst_frame_psnr_y_db)}</td>"
            f"<td>{quality(found.vmaf, Metric.VMAF)}</td>"
        )
    heads = ["codec", "qp", "kbit/s", "PSNR-Y", "worst", "VMAF"]
    return table(heads, rows, "The renderings that are shown here.")


def _shots(view: View, picture: Picture) -> str:
    x, y, width, height = picture.window
    index = picture.frame
    where = f"frame {index}"
    shots = (
        (picture.source, "source", ""),
        (
            picture.reference,
            view.reference.codec,
            f"{view.reference.series.psnr_y_db[index]:.2f} dB",
        ),
        (picture.subject, view.subject.codec, f"{view.subject.series.psnr_y_db[index]:.2f} dB"),
        (picture.error, f"error of {view.subject.codec}, ×{ERROR_GAIN}", ""),
    )
    cells = "".join(
        f'<figure><img src="data:image/png;base64,{base64.b64encode(data).decode()}" '
        f'width="{width}" height="{height}" alt="{escape(view.clip)}, {where}: {escape(name)}">'
        f"<figcaption><b>{escape(name)}</b> {note}</figcaption></figure>"
        for data, name, note in shots
    )
    return (
        f'<p class="note">Frame {index}, {escape(picture.why)}; {width}×{height} at {x},{y}.</p>'
        f'<div class="shots">{cells}</div>'
    )
