"""Write the table of the chart's values into its README: python -m tools.chart_readme [--check]

Each value is described by the comment above it that begins with `--`.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "helm" / "evocodec"
HEADING = "## Values\n"
_COMMENT = re.compile(r"^\s*# -- (.*)$")
_KEY = re.compile(r"^(\s*)([A-Za-z0-9_-]+):")


@dataclass(frozen=True, slots=True)
class Value:
    """One documented value: its dotted name, what it is for, its default."""

    name: str
    purpose: str
    default: Any

    def row(self) -> str:
        """Return a row of the table."""
        purpose = self.purpose.replace("|", "\\|")
        return f"| `{self.name}` | {purpose} | `{json.dumps(self.default)}` |"


def documented(text: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted name of every key of values.yaml and its comment, empty without one."""
    path: list[str] = []
    comment = ""
    for line in text.splitlines():
        if found := _COMMENT.match(line):
            comment = found[1]
        elif found := _KEY.match(line):
            path = [*path[: len(found[1]) // 2], found[2]]
            yield ".".join(path), comment
            comment = ""


def values(text: str) -> list[Value]:
    """Return every value that is documented, in the order of the file."""
    tree = yaml.safe_load(text)
    found = []
    for name, purpose in documented(text):
        default = tree
        for key in name.split("."):
            default = default[key] if isinstance(default, dict) else None
        if purpose and not (isinstance(default, dict) and default and _has_values(name, text)):
            found.append(Value(name, purpose, default))
    return found


def _has_values(name: str, text: str) -> bool:
    return any(other.startswith(f"{name}.") and purpose for other, purpose in documented(text))


def readme(old: str, text: str) -> str:
    """Return the README with a table of today's values."""
    head = old.partition(HEADING)[0]
    rows = "\n".join(value.row() for value in values(text))
    return f"{head}{HEADING}\n| value | what it is for | default |\n|---|---|---|\n{rows}\n"


def main() -> int:
    """Write the file, or say whether it would change."""
    path = CHART / "README.md"
    old = path.read_text(encoding="utf-8")
    new = readme(old, (CHART / "values.yaml").read_text(encoding="utf-8"))
    if "--check" in sys.argv:
        if old != new:
            sys.stderr.write("helm/evocodec/README.md is old; python -m tools.chart_readme\n")
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
