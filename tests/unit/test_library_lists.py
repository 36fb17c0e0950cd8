"""The lists of what programs may use agree with the libraries that are installed."""

import pytest

from evocodec.sandbox.policy import DEFAULT_IMPORTS, LIBRARY_IMPORTS
from evocodec.sandbox.review.library_names import (
    import_path,
    is_module,
    list_of,
    module_at,
    name_list,
    parse_list,
    step,
)
from tools.list_library_names import LISTS, differences, installed_version, render

LISTED = sorted(path.stem for path in LISTS.glob("*.txt"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # libraries look at all their names
@pytest.mark.parametrize("name", LISTED)
def test_a_list_has_every_public_name_of_its_library_and_none_besides(name: str) -> None:
    listed = parse_list((LISTS / f"{name}.txt").read_text(encoding="utf-8"))
    version = installed_version(name)
    if version != listed.version:
        pytest.skip(f"{name} {listed.version} is listed, {version} is installed")
    found = {path: (sorted(new), sorted(gone)) for path, new, gone in differences(listed)}
    assert found == {}, "run python -m tools.list_library_names --write, and read what is new"


@pytest.mark.parametrize("name", LISTED)
def test_a_list_is_written_as_the_tool_writes_it(name: str) -> None:
    text = (LISTS / f"{name}.txt").read_text(encoding="utf-8")
    assert render(parse_list(text), text.partition("\n")[0].removeprefix("# ")) == text


def test_every_import_that_is_allowed_has_a_list() -> None:
    tops = {name.partition(".")[0] for name in DEFAULT_IMPORTS}
    assert {list_of(top) for top in tops} == set(LISTED)
    assert {top for top in tops if name_list(top) is None} == set()
    assert set(LISTED) >= LIBRARY_IMPORTS


@pytest.mark.parametrize("name", LISTED)
def test_no_name_is_both_allowed_and_left_out(name: str) -> None:
    listed = parse_list((LISTS / f"{name}.txt").read_text(encoding="utf-8"))
    both = [path for path, one in listed.modules.items() if one.allowed & one.left_out.keys()]
    assert both == []


def test_a_path_ends_where_the_list_ends() -> None:
    assert step("numpy", "linalg") == "numpy.linalg"
    assert is_module("numpy.linalg")
    assert step("numpy.linalg", "norm") == "numpy.linalg.norm"
    assert not is_module("numpy.linalg.norm")
    assert step("numpy.linalg.norm", "anything") == "numpy.linalg.norm"
    assert step("numpy", "load") is None
    assert step("cv2", "INTER_AREA") == "cv2.INTER_AREA"
    assert step("cv2", "imread") is None
    assert import_path("numpy.ctypeslib") is None
    assert import_path("colorsys") == "colorsys"
    assert module_at("numpy.abs") is None
