"""Steps that whoever adds a metric or a setting forgets easily (docs/contributing/recipes.md)."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from evocodec.config import Settings
from evocodec.telemetry.metrics import RunMetrics

ROOT = Path(__file__).parents[2]


def test_the_page_on_metrics_names_each_that_events_fill() -> None:
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|", page, re.MULTILINE)
    named = {f"evocodec_{name}" for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    served = RunMetrics().exposition().decode()
    counted = set(re.findall(r"^# TYPE (\w+) \w+$", served, re.MULTILINE))
    assert counted
    assert counted - named == set()


def settings_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Yield the name of every setting."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings_of(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def test_each_setting_is_read_somewhere() -> None:
    files = [*ROOT.glob("evocodec/**/*.py"), *ROOT.glob("agents/*.py"), *ROOT.glob("graph/*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.name != "config.py")
    read = set(re.findall(r"\.(\w+)\b", text))
    names = list(settings_of(Settings))
    assert names
    assert [name for name in names if name.split(".")[-1] not in read] == []


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "docs/contributing/recipes.md", "docs/index.md"]
)
def test_the_pages_for_developers_name_files_and_tests_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:agents|docs|evocodec|graph|helm|observability|tests|tools)/[^`]*)`", text
    )
    links = [
        str(((ROOT / page).parent / link).resolve().relative_to(ROOT))
        for link in re.findall(r"\]\(([^)#:]+)\)", text)
    ]
    assert links or named
    for name in [*named, *links]:
        path, _, test = name.partition("::")
        if "NAME" in path:
            continue  # what the reader makes
        assert (ROOT / path).exists(), name
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), name
