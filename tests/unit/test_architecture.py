"""The drawing of the rooms, and the pages that name files, say what is so."""

import ast
import re

from tests.support.source_trees import ROOT, name_of, nodes_of, product_files
from tools import draw_architecture


def test_the_drawing_shows_the_layers_of_the_contract_and_todays_docstrings() -> None:
    drawn = draw_architecture.drawing()
    assert drawn == (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8"), (
        "run `make architecture`"
    )


def test_every_package_is_a_room_of_the_drawing_and_says_what_it_is_for() -> None:
    drawn = {name for layer in draw_architecture.layers() for name in layer} | {
        "evocodec.telemetry"
    }
    packages = {f"evocodec.{path.parent.name}" for path in ROOT.glob("evocodec/*/__init__.py")}
    modules = {f"evocodec.{path.stem}" for path in ROOT.glob("evocodec/*.py")}
    assert packages
    assert packages | {"agents", "graph"} == drawn - modules
    assert all(draw_architecture.purpose(name) for name in drawn)


def test_every_step_of_the_path_is_in_a_room() -> None:
    rooms = {name for layer in draw_architecture.layers() for name in layer}
    assert {name for name, _ in draw_architecture.PATH} <= rooms


def test_files_that_the_architecture_page_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:evocodec|agents|graph|observability)/[\w/.]+)`", page))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


NAMES_THAT_STAND_TWICE = {
    "Coder": "a program's entropy coder is within its one file; the agent writes programs",
}


def test_a_public_class_has_a_name_of_its_own_or_a_reason() -> None:
    places: dict[str, list[str]] = {}
    for path in product_files():
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name_of(path))
    assert len(places) > 200
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert shared.keys() == NAMES_THAT_STAND_TWICE.keys(), shared
