"""Dashboards as files: made by code, whole, readable, and in PromQL that Prometheus parses.

No Grafana runs here: how they look is not tested. test_prometheus.py asks a real Prometheus, filled
by a real run, every one of their queries.
"""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.dashboard_files import FILES, ROOT, boards, expressions, filled, panels
from tests.support.prometheus_server import tool

BOARDS = boards()
# As Grafana's own list has them; a unit that it does not know is shown as a word after the number.
UNITS = {"none", "short", "s", "percent", "percentunit", "Mbits", "currencyUSD", "ops"}


def test_the_committed_files_are_what_the_code_makes(tmp_path: Path) -> None:
    made = generated(tmp_path)
    assert made == {file.name: file.read_text(encoding="utf-8") for file in FILES}


def generated(folder: Path, *words: str) -> dict[str, str]:
    """What the code makes now, by the name of the file."""
    pytest.importorskip("grafana_foundation_sdk", reason="the dashboards' generator needs it")
    command = [sys.executable, "-m", "observability.generate", *words, str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


def test_there_are_four_dashboards_each_with_a_name_of_its_own() -> None:
    assert set(BOARDS) == {"run", "fleet", "models", "security"}
    assert {board["uid"] for board in BOARDS.values()} == {f"evocodec-{name}" for name in BOARDS}
    assert len({board["title"] for board in BOARDS.values()}) == 4
    assert all("id" not in board or board["id"] is None for board in BOARDS.values())


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_their_own_ids_and_places(name: str) -> None:
    every = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations([panel["gridPos"] for panel in every], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_shows_in_which_unit_from_the_chosen_source(name: str) -> None:
    every = panels(BOARDS[name])
    assert every
    for panel in every:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_that_is_used_is_defined(name: str) -> None:
    board = BOARDS[name]
    defined = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert defined["datasource"]["type"] == "datasource"
    assert defined["datasource"]["query"] == "prometheus"
    own = json.dumps({**board, "templating": None})
    used = set(re.findall(r"\$\{?(\w+)", own)) - {"__rate_interval", "__range"}
    assert used <= set(defined)
    assert {"datasource", "controller"} <= used


@pytest.mark.parametrize("name", BOARDS)
def test_ray_and_the_other_dashboards_are_one_click_away_and_nothing_else_is(name: str) -> None:
    links: dict[str, dict[str, Any]] = {link["title"]: link for link in BOARDS[name]["links"]}
    assert set(links) == {"Evocodec", "Ray dashboard"}
    assert links["Ray dashboard"]["url"].startswith("${ray}/")
    assert links["Evocodec"]["tags"] == ["evocodec"]
    assert "evocodec" in BOARDS[name]["tags"]


def test_pages_of_candidates_are_linked_where_there_is_a_web_dashboard(tmp_path: Path) -> None:
    every = list(map(json.loads, generated(tmp_path, "--web").values()))
    assert every
    for board in every:
        (link,) = [link["url"] for link in board["links"] if link["title"] == "Candidate"]
        variables = {variable["name"] for variable in board["templating"]["list"]}
        assert set(re.findall(r"\$\{(\w+)", link)) == {"web", "run", "candidate"} <= variables


def test_promtool_parses_every_expression(tmp_path: Path) -> None:
    found = list(expressions())
    assert len(found) > 50
    rules = [
        {"record": f"check:{number}", "expr": expression}
        for number, (_, expression) in enumerate(found)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run(
        [tool("promtool"), "check", "rules", str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(found)} rules found" in done.stdout


def test_no_variable_is_left_unfilled() -> None:
    assert all("$" not in expression for _, expression in expressions())
    assert filled('x{instance=~"$controller"}[$__range]') == 'x{instance=~".*"}[5m]'
