"""The rules that every test keeps, checked in the text of the tests."""

import ast
from collections.abc import Iterable, Iterator

import pytest

from tests.support.long_files import SECONDS
from tests.support.markers import MARKERS, NEEDS, imported, module_markers
from tests.support.source_trees import ROOT, name_of, nodes_of, tree_of

TESTS = sorted(ROOT.glob("tests/**/*.py"))
OURS = {
    path
    for folder in ("tests", "tools", "benchmarks", "observability")
    for path in ROOT.glob(f"{folder}/**/*.py")
    if path.parent.name != "data"
}
CLOCKS = {"monotonic", "perf_counter", "process_time", "time"}
# What starts processes, servers or Ray.
_NOT_IN_UNIT_TESTS = {"subprocess", "multiprocessing", "socket", "psutil", "ray", "boto3", "moto"}


def test_no_module_of_tests_or_tools_is_imported_by_a_bare_name() -> None:
    bare = {path.stem for path in OURS} - {"__init__"}
    assert "toy_laboratory" in bare
    found = {name_of(path): imported(path) & bare for path in OURS}
    assert {path: names for path, names in found.items() if names} == {}


def test_unit_and_property_tests_start_no_process_and_no_server() -> None:
    files = [*ROOT.glob("tests/unit/test_*.py"), *ROOT.glob("tests/property/test_*.py")]
    assert files
    for path in files:
        assert not imported(path) & _NOT_IN_UNIT_TESTS, name_of(path)


def _is_duration(node: ast.expr) -> bool:
    """Tell whether it is a clock's time minus another one."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _reads_clock(node.left)


def _reads_clock(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "") in CLOCKS


def _upper_bounds(nodes: Iterable[ast.AST]) -> Iterator[int]:
    """Yield the lines that assert that little time has passed."""
    compared = (
        found
        for statement in nodes
        if isinstance(statement, ast.Assert)
        for found in ast.walk(statement.test)
        if isinstance(found, ast.Compare)
    )
    for found in compared:
        terms = [found.left, *found.comparators]
        for left, operator, right in zip(terms, found.ops, terms[1:], strict=False):
            less = left if isinstance(operator, ast.Lt | ast.LtE) else right
            if isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE) and _is_duration(less):
                yield found.lineno


def test_no_test_fails_because_the_machine_is_slow() -> None:
    found = [f"{name_of(path)}:{line}" for path in TESTS for line in _upper_bounds(nodes_of(path))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("assert time.monotonic() - began < 5", [1]),
        ("assert 1 < time.monotonic() - began <= 5", [1]),
        ("assert 5 > time.perf_counter() - began", [1]),
        ("assert time.monotonic() - began >= 5", []),
        ("assert time.monotonic() < deadline", []),
    ],
)
def test_an_upper_bound_in_seconds_is_seen(text: str, lines: list[int]) -> None:
    assert list(_upper_bounds(ast.walk(ast.parse(text)))) == lines


def _asserts_something(statement: ast.stmt) -> bool:
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.With) and "raises" in ast.unparse(node.items[0].context_expr))
        for node in ast.walk(statement)
    )


def _is_never_empty(iterated: ast.expr) -> bool:
    """Tell literals, ranges, and constants of the module with or without ``.items()``."""
    if isinstance(iterated, ast.Call):
        name = iterated.func
        if isinstance(name, ast.Attribute) and name.attr in {"items", "values", "keys"}:
            return _is_never_empty(name.value)
        return isinstance(name, ast.Name) and name.id == "range"
    if isinstance(iterated, ast.BinOp):
        return _is_never_empty(iterated.left) or _is_never_empty(iterated.right)
    if isinstance(iterated, ast.Name):
        return iterated.id.isupper()
    return isinstance(iterated, ast.Tuple | ast.List | ast.Set | ast.Dict | ast.Constant)


def _vacuous(test: ast.FunctionDef) -> bool:
    """Tell whether all that a test asserts stands in loops that may have nothing to go over."""
    if any("given" in ast.unparse(each) for each in test.decorator_list):
        return False  # hypothesis draws the empty case too
    loops, waiting = [], list(test.body)
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.For):
            loops += [each] if _asserts_something(each) else []
        elif isinstance(each, ast.Assert):
            return False
        elif isinstance(each, ast.With | ast.If | ast.Try | ast.While):
            if isinstance(each, ast.With) and any(
                "raises" in ast.unparse(item.context_expr) for item in each.items
            ):
                return False
            waiting += each.body
    return any(not _is_never_empty(loop.iter) for loop in loops)


def test_no_test_passes_because_a_loop_had_nothing_to_go_over() -> None:
    found = [
        f"{name_of(path)}::{each.name}"
        for path in TESTS
        for each in tree_of(path).body
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_") and _vacuous(each)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("body", "vacuous"),
    [
        ("for pod in pods(): assert pod", True),
        ("found = pods()\n    assert found\n    for pod in found: assert pod", False),
        ("for pod in (1, 2): assert pod", False),
        ("for pod in PODS.values(): assert pod", False),
        ("with place():\n        for pod in pods(): assert pod", True),
    ],
)
def test_a_test_that_asserts_only_in_a_loop_is_seen(body: str, vacuous: bool) -> None:
    (test,) = ast.parse(f"def test_x():\n    {body}").body
    assert isinstance(test, ast.FunctionDef)
    assert _vacuous(test) is vacuous


def test_files_that_take_long_are_there() -> None:
    modules = {path.stem for path in TESTS}
    assert SECONDS.keys() - modules == set()


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_what_gives_a_marker_is_there(name: str) -> None:
    if name in {"ray", "playwright"}:
        return  # other people's packages
    parts = name.split(".")
    whole = ROOT.joinpath(*parts).with_suffix(".py")
    if not whole.exists():
        text = ROOT.joinpath(*parts[:-1]).with_suffix(".py").read_text(encoding="utf-8")
        names = {getattr(node, "name", "") for node in ast.parse(text).body}
        assert parts[-1] in names
    assert NEEDS[name] <= set(MARKERS)


@pytest.mark.parametrize(
    ("module", "markers"),
    [
        ("test_ray_cluster", {"ray", "slow"}),
        ("test_chart_drain", {"ray", "cluster"}),  # by way of another test module
        ("test_sandbox_image", {"images", "slow"}),
        ("test_chaos", {"chaos", "ray", "slow"}),
        ("test_sandbox", set()),
    ],
)
def test_a_module_is_marked_by_what_it_imports(module: str, markers: set[str]) -> None:
    assert module_markers(ROOT / "tests" / "integration" / f"{module}.py") == markers
