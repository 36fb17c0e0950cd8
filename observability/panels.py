"""Dashboard panels: one unit, one description and one data source each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"


@dataclass(frozen=True)
class Query:
    """One expression; ``legend`` may name labels, as in ``{{role}}``."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A panel: title, description, queries and unit; the description is required."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    width: int = 12
    kind: str = "lines"  # lines, bars, number, names or ranking
    thresholds: Sequence[tuple[float | None, str]] = ()
    decimals: int | None = None
    floor: float | None = 0.0

    @property
    def height(self) -> int:
        """Grid rows: a number is small, a curve needs room."""
        return 4 if self.kind in ("number", "names") else 8


@dataclass(frozen=True)
class Section:
    """A row of panels under a title."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """One dashboard; the file is called as ``uid`` without its first word."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section] = field(default_factory=tuple)


def build(panel: Panel, number: int, x: int, y: int) -> Any:
    """Return the panel at its place on the grid."""
    made = _KINDS[panel.kind](panel)
    made.id(number).title(panel.title).description(panel.description).unit(panel.unit)
    made.datasource(SOURCE)
    made.grid_pos(models.GridPos(h=panel.height, w=panel.width, x=x, y=y))
    if panel.decimals is not None:
        made.decimals(panel.decimals)
    if panel.floor is not None:
        made.min(panel.floor)
    steps = panel.thresholds or ((None, GREEN if panel.kind == "number" else BLUE),)
    made.thresholds(
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expression).ref_id(letter)
        target.legend_format(query.legend or "__auto")
        target.range() if panel.kind in ("lines", "bars") else target.instant()
        made.with_target(target)
    return made


def _lines(panel: Panel) -> Any:
    made = timeseries.Panel().line_width(2).fill_opacity(8)
    made.show_points(common_models.VisibilityMode.NEVER)
    made.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    made.legend(
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    if panel.thresholds:
        dashed = common_models.GraphTresholdsStyleMode.DASHED
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(dashed))
    return made


def _bars(panel: Panel) -> Any:
    made = _lines(panel).draw_style(common_models.GraphDrawStyle.BARS).fill_opacity(70)
    return made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))


def _number(panel: Panel) -> Any:
    del panel
    return (
        stat.Panel()
        .color_mode(common_models.BigValueColorMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _names(panel: Panel) -> Any:
    return _number(panel).text_mode(common_models.BigValueTextMode.NAME)


def _ranking(panel: Panel) -> Any:
    del panel
    return (
        bargauge.Panel()
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


_KINDS = {
    "lines": _lines,
    "bars": _bars,
    "number": _number,
    "names": _names,
    "ranking": _ranking,
}
