"""Writes Grafana's dashboards as JSON: ``python -m observability.generate [--web] [FOLDER]``.

``--web`` adds links to the web dashboard and to a candidate's page there. Without it there is none:
a link has to lead somewhere.
"""

import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from observability.boards import BOARDS
from observability.panels import SOURCE, WIDTH, Board, build

FOLDER = Path(__file__).parents[1] / "helm" / "evocodec" / "dashboards"
TAG = "evocodec"


def main() -> None:
    """Write one file a dashboard, into the chart unless another folder is named."""
    folders = [Path(word) for word in sys.argv[1:] if word != "--web"]
    folder = folders[0] if folders else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        text = rendered(board, web="--web" in sys.argv)
        (folder / f"{board.uid.removeprefix('evocodec-')}.json").write_text(text)


def rendered(board: Board, *, web: bool) -> str:
    """Return a dashboard as JSON that is the same every time."""
    made = _frame(board)
    if web:
        _link_web(made)
    number, y = 0, 0
    for section in board.sections:
        number += 1
        made.with_row(
            dashboard.Row(section.title).id(number).grid_pos(models.GridPos(h=1, w=WIDTH, x=0, y=y))
        )
        x, y, height = 0, y + 1, 0
        for panel in section.panels:
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            number += 1
            made.with_panel(build(panel, number, x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    text = JSONEncoder(sort_keys=True, indent=2).encode(made.build())
    return json.dumps(json.loads(text), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _frame(board: Board) -> Any:
    return (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .with_variable(
            dashboard.QueryVariable("controller")
            .label("Controller")
            .datasource(SOURCE)
            .query("label_values(evocodec_build_info, instance)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
        .with_variable(_typed("ray", "Ray dashboard", "http://127.0.0.1:8265"))
        .link(
            dashboard.DashboardLink("Evocodec")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
        .link(_link("Ray dashboard", "${ray}/#/jobs"))
    )


def _link_web(made: Any) -> None:
    made.with_variable(_typed("web", "Web dashboard", "http://127.0.0.1:8080"))
    made.with_variable(
        dashboard.QueryVariable("run")
        .label("Run")
        .datasource(SOURCE)
        .query('label_values(evocodec_run_info{instance=~"$controller"}, run_id)')
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_DESC)
    )
    made.with_variable(_typed("candidate", "Candidate", "c0001"))
    made.link(_link("Web dashboard", "${web}/"))
    made.link(_link("Candidate", "${web}/runs/${run}/candidates/${candidate}"))


def _typed(name: str, label: str, value: str) -> Any:
    option = models.VariableOption(selected=True, text=value, value=value)
    return dashboard.TextBoxVariable(name).label(label).default_value(value).current(option)


def _link(title: str, url: str) -> Any:
    made = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url)
    return made.target_blank(True).icon("external link")


if __name__ == "__main__":
    main()
