"""Programs are parsed in many threads at once."""

import ast
import threading

import pytest

from evocodec.codec.syntax import (
    compile_tree,
    parse,
    parse_literal,
    statements,
    without_annotations,
    without_docstrings,
)

EVERY_BLOCK = """
if a:
    def f1(x: int, /, y: int, *z: int, k: int, **w: int) -> int: "d"
elif b:
    def f2() -> int: "d"
else:
    def f3() -> int: "d"
for i in a:
    def f4() -> int: "d"
else:
    def f5() -> int: "d"
while a:
    def f6() -> int: "d"
else:
    def f7() -> int: "d"
with a:
    def f8() -> int: "d"
try:
    def f9() -> int: "d"
except A:
    def f10() -> int: "d"
else:
    def f11() -> int: "d"
finally:
    def f12() -> int: "d"
try:
    pass
except* A:
    def f13() -> int: "d"
match a:
    case 1:
        def f14() -> int: "d"
class C:
    "d"
    async def f15() -> int:
        "d"
        async with a:
            def f16() -> int: "d"
        async for i in a:
            def f17() -> int: "d"
"""

NESTED = "x = " + "(" * 40 + "1" + ",)" * 40 + "\n"


def test_many_threads_parse_at_once() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(60):
                compile_tree(parse(NESTED * 20))
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_what_does_not_parse_raises_and_runs_nothing() -> None:
    with pytest.raises(SyntaxError):
        parse("def f(:")
    with pytest.raises(ValueError, match="malformed"):
        parse_literal("print('no')")
    assert parse_literal("(1, 'a')") == (1, "a")
    assert isinstance(parse("raise SystemExit"), ast.Module)


def test_statements_are_found_in_every_kind_of_block() -> None:
    tree = parse(EVERY_BLOCK)
    found = [node for node in statements(tree) if isinstance(node, ast.stmt)]
    assert {*map(id, found)} == {id(n) for n in ast.walk(tree) if isinstance(n, ast.stmt)}
    assert len(found) == len({*map(id, found)}) > 30


def test_docstrings_and_annotations_come_out_of_every_kind_of_block_and_back() -> None:
    tree = parse(EVERY_BLOCK)
    before = ast.dump(tree)
    with without_docstrings(tree), without_annotations(tree):
        left = ast.dump(tree)
    assert "annotation=" not in left
    assert "returns=" not in left
    assert "value='d'" not in left
    assert ast.dump(tree) == before
