"""The committed dashboards and alerts as tests read them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "evocodec"
FILES = sorted((CHART / "dashboards").glob("*.json"))
RULES = CHART / "alerts" / "evocodec.rules.yaml"
_NAME = re.compile(r"\bevocodec_\w+")


def boards() -> dict[str, dict[str, Any]]:
    """The dashboards by the name of their file."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show something; rows only fold."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every query as ``(dashboard/panel, PromQL)``, with variables as Grafana would fill them."""
    for name, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield f"{name}/{panel['title']}", filled(target["expr"])


def filled(expression: str) -> str:
    """An expression without Grafana's variables."""
    for variable, value in (
        ("$__rate_interval", "5m"),
        ("$__range", "5m"),
        ("$controller", ".*"),
    ):
        expression = expression.replace(variable, value)
    return expression


def metric_names(expression: str) -> set[str]:
    """Our metrics in an expression."""
    return set(_NAME.findall(expression))


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
