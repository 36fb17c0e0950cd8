"""The HTML report: one file that works from disk, loads nothing, and can be printed.

Jinja2 writes it from ``templates/``. Every value is escaped unless it is ``Markup``, and only our
own style and script are; a name that a template misspells is an error.
"""

import base64
import hashlib
from functools import cache, partial
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evocodec import formatting
from evocodec.curves.rd_curve import METRIC_NAMES
from evocodec.domain.results import Metric
from evocodec.report import charts, sections
from evocodec.report.drawn_curve import kbit_per_second
from evocodec.report.model import Report
from evocodec.report.pictures import ERROR_GAIN
from evocodec.report.wording import same_hour, sense


def html_page(report: Report) -> str:
    """The whole report as one HTML document."""
    style, script = _asset("report.css"), _asset("report.js")
    # Nothing but this style, this script and embedded images may load or run, whatever the names
    # of clips and programs contain.
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            report=report,
            policy=policy,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            tiles=list(sections.tiles(report)),
            costs=sections.costs(report),
            trade_offs=sections.trade_offs(report),
            rd_chart=partial(sections.clip_chart, report),
            frame_charts=sections.frame_charts,
            shots=sections.shots,
        )
    )


def chart_svg(chart: charts.Chart) -> str:
    """One chart as an ``svg`` element."""
    module = _templates().get_template("chart.svg.j2").module
    return str(module.chart(chart))  # type: ignore[attr-defined]  # a macro of the template


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("evocodec.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(
        number=partial(formatting.number, grouped=True),
        percent=formatting.percent,
        interval=formatting.interval,
        size=formatting.size,
        count_of=formatting.plural,
        sense=sense,
        same_hour=same_hour,
        metric_name=lambda metric: METRIC_NAMES[Metric(metric)],
    )
    templates.globals.update(
        SLOTS=sections.SLOTS,
        ERROR_GAIN=ERROR_GAIN,
        kbit_per_second=kbit_per_second,
        **{name: getattr(charts, name) for name in _BOX},
    )
    return templates


_BOX = ("WIDTH", "HEIGHT", "LEFT", "RIGHT", "TOP", "BOTTOM")


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
