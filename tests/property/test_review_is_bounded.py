"""The work of a review is bounded for every text, counted in steps and not in seconds."""

import ast
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from evocodec.codec.program import Program
from evocodec.codec.tunables import TunableError, find_tunables
from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.review.name_scopes import MOST_PATHS, scoped_tree
from evocodec.sandbox.review.static_review import review_program
from evocodec.sandbox.review.step_budget import MOST_NODES, ReviewLimitError, StepBudget
from tests.support.default_options import default_policy

MOST_BYTES = 256 << 10
STEPS_PER_BYTE = 2 * MOST_PATHS
"""Every name, attribute and assignment has at least a byte, and is followed at most 16 times."""

NAMES = st.sampled_from(["np", "x", "y", "z", "f", "a"])
LIBRARIES = st.sampled_from(["np", "np.random", "np.linalg.norm", "np.fft", "np.float32", "np.abs"])
PIECES = st.one_of(
    st.builds("{} = {}\n".format, NAMES, LIBRARIES),
    st.builds("{} = {}.{}\n".format, NAMES, NAMES, st.sampled_from(["fft", "abs", "a", "T"])),
    st.builds(lambda name, depth: f"{name}{'.a' * depth}\n", LIBRARIES, st.integers(0, 400)),
    st.builds("def {}({}=0):\n    global {}\n    {} = {}\n".format, *[NAMES] * 5),
    st.builds("class {}:\n    {} = {}\n".format, NAMES, NAMES, LIBRARIES),
    st.builds(lambda depth: f"x = {'lambda: ' * depth}np\n", st.integers(0, 60)),
    st.builds(lambda depth: f"x = {'[' * depth}{']' * depth}\n", st.integers(1, 90)),
    st.builds(lambda size: f"x = 0x{'f' * size}\n", st.integers(1, 5000)),
    st.builds("from numpy import abs as {}\n".format, NAMES),
    st.builds("x = [{} for {} in {}]\n".format, NAMES, NAMES, NAMES),
    st.builds("x = f'{{{}}}{{{}:{{{}}}}}'\n".format, NAMES, NAMES, NAMES),
    st.builds("match {}:\n    case {}(): pass\n".format, NAMES, NAMES),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(PIECES, max_size=8), st.sampled_from([1, 10, 100, 10_000]))
def test_a_review_takes_steps_in_proportion_to_the_text(pieces: list[str], times: int) -> None:
    piece = "".join(pieces) or "x\n"
    text = "import numpy as np\n" + piece * min(times, 10_000 // len(piece) + 1)
    budget = StepBudget()
    with suppress(ReviewLimitError):
        scoped_tree(ast.parse(text), budget)
    assert budget.used <= STEPS_PER_BYTE * len(text)
    review_program(Program(text), default_policy())


def repeated(line: str, before: str = "import numpy as np\n") -> str:
    return before + line * ((MOST_BYTES - len(before)) // len(line))


MEANINGS = (
    *("abs", "add", "all", "any", "sin", "cos", "tan", "exp", "log", "sum", "min", "max", "dot"),
    *("std", "var", "mod", "pad"),
)
FULL: dict[str, Callable[[], str]] = {
    "many constants": partial(repeated, "1,", "x = "),
    "many functions": lambda: "lambda: 0\n" * 5000,
    "many classes": lambda: "class A: 0\n" * 5000,
    "functions in one another": lambda: "lambda: " * 200 + "0\n",
    "many meanings": lambda: "import numpy as np\n" + "".join(f"f = np.{m}\n" for m in MEANINGS),
}


@pytest.mark.parametrize("make", FULL.values(), ids=FULL.keys())
def test_a_program_with_too_much_of_anything_is_refused_with_the_reason(
    make: Callable[[], str],
) -> None:
    text = make()
    assert len(text) <= MOST_BYTES
    (finding,) = review_program(Program(text), default_policy()).findings
    assert finding.rule is GateRule.REVIEW_LIMIT
    assert "more than" in finding.message


def test_an_alias_of_an_alias_does_not_double_what_a_name_stands_for() -> None:
    text = "import numpy as np\nx = np.random\n" + "".join(f"x = x.a{i}\n" for i in range(12))
    budget = StepBudget()
    scoped_tree(ast.parse(text), budget)
    assert budget.used < 100


def test_a_chain_of_attributes_costs_a_step_each() -> None:
    budget = StepBudget()
    scoped_tree(ast.parse("import numpy as np\nx = np.float32" + ".a" * 2000), budget)
    assert budget.used < 3 * 2000
    assert MOST_NODES > 2000


@pytest.mark.parametrize("mark", ["int {}", "float {}..", "int 1..{}x", "choice {}|x"])
def test_a_mark_of_many_digits_is_read_at_once(mark: str) -> None:
    text = f"A = 1  # evolve: {mark.format('1' * 200_000)}\n"
    with pytest.raises(TunableError):
        find_tunables(text, ast.parse(text))
