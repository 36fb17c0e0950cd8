"""Checks of a machine or a cluster, one line each."""

from collections.abc import Iterable, Mapping
from typing import Final

from rich.table import Table
from rich.text import Text

from evocodec.cli.render.tables import facts
from evocodec.cli.render.text import sanitize
from evocodec.domain.check import Check, CheckState

_MARKS: Final = {
    "ok": ("✓", "green"),
    "warn": ("!", "yellow"),
    "fail": ("✗", "red"),
    "skip": ("·", "dim"),
}


def checks_table(
    checks: Iterable[Check], *, state_labels: Mapping[CheckState, str] | None = None
) -> Table:
    """A mark and what was found, and what to do; ``words`` are written beside the marks."""
    rows: list[tuple[str, Text]] = []
    for check in checks:
        mark, style = _MARKS[check.state]
        line = Text(
            f"{mark} {state_labels[check.state]}  " if state_labels else f"{mark} ", style=style
        )
        line.append(sanitize(check.detail), style="default")
        for part, state in check.parts.items():
            line.append(f"\n  {sanitize(part)}: {sanitize(state)}", style="dim")
        if check.fix:
            line.append(f"\n  → {sanitize(check.fix)}", style="dim")
        rows.append((check.name, line))
    return facts(rows)
