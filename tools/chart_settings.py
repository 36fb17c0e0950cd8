"""Write Evocodec's settings into the chart's schema: python -m tools.chart_settings [--check]

So Helm refuses a misspelt setting, and not the controller that was started with it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from evocodec.config import Settings

SCHEMA = Path(__file__).parents[1] / "helm" / "evocodec" / "values.schema.json"
# Said by `evocodec config`; here they would only make the file long.
_LEFT_OUT = frozenset({"title", "default", "description", "format", "writeOnly"})


def settings() -> dict[str, Any]:
    """Return the schema of all settings, without references."""
    whole = Settings.model_json_schema()
    found: dict[str, Any] = _plain(whole, whole["$defs"])
    return found


def _plain(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _plain(definitions[node["$ref"].rpartition("/")[2]], definitions)
    found = {}
    for name, value in node.items():
        if name == "properties":
            found[name] = {key: _plain(each, definitions) for key, each in value.items()}
        elif name not in _LEFT_OUT and name != "$defs":
            found[name] = _plain(value, definitions)
    return found


def schema(text: str) -> str:
    """Return the chart's schema with the settings of today."""
    tree = json.loads(text)
    controller = tree["properties"]["controller"]["properties"]
    controller["settings"] = {"description": controller["settings"]["description"], **settings()}
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file, or say whether it would change."""
    old = SCHEMA.read_text(encoding="utf-8")
    new = schema(old)
    if "--check" in sys.argv:
        if old != new:
            sys.stderr.write("values.schema.json is old; python -m tools.chart_settings\n")
        return int(old != new)
    SCHEMA.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
