"""Draw docs/architecture.svg from the layers that import-linter checks and each room's docstring.

Run it as ``make architecture``; a test compares the drawing with what is committed.
"""

import ast
import sys
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
DRAWING = ROOT / "docs" / "architecture.svg"

_WIDTH, _MARGIN, _GAP = 1180, 20, 10
_TITLE_HEIGHT, _LINE_HEIGHT, _PADDING = 22, 15, 8
_SIDE = 150  # the column of telemetry, which every room may use

# Where a candidate passes, in its order: numbers in the drawing.
PATH = (
    ("evocodec.search", "1 picks the parent"),
    ("agents", "2 plan, code, review"),
    ("evocodec.evaluation", "3 plans the stages"),
    ("evocodec.execution", "4 runs the tasks"),
    ("evocodec.sandbox", "5 starts a job"),
    ("evocodec.isolation", "6 confines it"),
    ("evocodec.guest", "7 runs the program"),
    ("evocodec.metrics", "8 measures frames"),
    ("evocodec.curves", "9 compares curves"),
    ("evocodec.rules", "10 decide"),
    ("evocodec.champions", "11 commits a version"),
    ("evocodec.store", "12 keeps the record"),
)


def layers() -> list[list[str]]:
    """Return the packages of each layer, the uppermost first, as import-linter checks them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    found = next(contract for contract in contracts if contract["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in found["layers"]]


def purpose(package: str) -> str:
    """Return the first line of a package's docstring, or of a module's."""
    path = ROOT / package.replace(".", "/") / "__init__.py"
    if not path.exists():
        path = path.parent.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def drawing() -> str:
    """Return the whole drawing as SVG text."""
    parts: list[str] = []
    top = 56
    for layer in layers():
        height = _draw_layer(parts, layer, top)
        top += height + _GAP
    height = top - _GAP - 56
    _draw_side(parts, 56, height)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + _MARGIN}" '
            'font-family="DejaVu Sans, Verdana, sans-serif">',
            f'<rect width="{_WIDTH}" height="{top + _MARGIN}" fill="#ffffff"/>',
            f'<text x="{_MARGIN}" y="26" font-size="17" font-weight="bold" fill="#1b2733">'
            "Rooms of Evocodec</text>",
            f'<text x="{_MARGIN}" y="45" font-size="12" fill="#4a5a68">A room imports only from '
            "rooms below it. Rooms side by side do not import each other. Numbers: the way of one "
            "candidate.</text>",
            *parts,
            "</svg>",
            "",
        ]
    )


def _draw_layer(parts: list[str], layer: list[str], top: int) -> int:
    """Draw the rooms of one layer side by side; return their height in pixels."""
    room = (_WIDTH - 2 * _MARGIN - _SIDE - _GAP - _GAP * (len(layer) - 1)) // len(layer)
    texts = [textwrap.wrap(purpose(name), max(18, int(room / 6.6))) for name in layer]
    steps = dict(PATH)
    lines = max(len(text) + (name in steps) for name, text in zip(layer, texts, strict=True))
    height = _TITLE_HEIGHT + lines * _LINE_HEIGHT + _PADDING
    for place, (name, text) in enumerate(zip(layer, texts, strict=True)):
        left = _MARGIN + place * (room + _GAP)
        fill = "#fff4e0" if name in steps else "#eef3f7"
        parts.append(
            f'<rect x="{left}" y="{top}" width="{room}" height="{height}" rx="5" fill="{fill}" '
            'stroke="#8fa3b3"/>'
        )
        title = name.removeprefix("evocodec.")
        parts.append(
            f'<text x="{left + 10}" y="{top + 18}" font-size="14" font-weight="bold" '
            f'fill="#1b2733">{title}</text>'
        )
        shown = [(line, "#33424f") for line in text]
        if name in steps:
            shown.append((steps[name], "#a3520b"))
        for number, (line, colour) in enumerate(shown):
            y = top + _TITLE_HEIGHT + 12 + number * _LINE_HEIGHT
            parts.append(
                f'<text x="{left + 10}" y="{y}" font-size="11" fill="{colour}">'
                f"{escape(line)}</text>"
            )
    return height


def _draw_side(parts: list[str], top: int, height: int) -> None:
    """Draw telemetry as a column beside all layers."""
    left = _WIDTH - _MARGIN - _SIDE
    parts.append(
        f'<rect x="{left}" y="{top}" width="{_SIDE}" height="{height}" rx="5" fill="#edf7ee" '
        'stroke="#8fb396"/>'
    )
    parts.append(
        f'<text x="{left + 10}" y="{top + 18}" font-size="14" font-weight="bold" '
        'fill="#1b2733">telemetry</text>'
    )
    words = f"{purpose('evocodec.telemetry')} Uses the domain alone; any room above it may use it."
    for number, line in enumerate(textwrap.wrap(words, 20)):
        y = top + _TITLE_HEIGHT + 12 + number * _LINE_HEIGHT
        parts.append(
            f'<text x="{left + 10}" y="{y}" font-size="11" fill="#33424f">{escape(line)}</text>'
        )


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
    sys.stdout.write(f"wrote {DRAWING.relative_to(ROOT)}\n")
