"""Programs are parsed in many threads at once."""

import ast
import threading

import pytest

from evocodec.codec.syntax import compile_tree, parse, parse_literal

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
