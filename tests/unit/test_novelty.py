"""What counts as the same program, and who was first with it."""

import threading

import pytest

from evocodec.search.novelty import Novelty, normalised_digest

PROGRAM = '''"""A codec."""
STEP = 8

def encode(frames, stream, qp):
    """Encode."""
    for frame in frames:
        plane = frame.y // STEP  # coarse
        yield plane.tobytes()
'''

SAME = {
    "comments": PROGRAM.replace("  # coarse", ""),
    "formatting": PROGRAM.replace("frame.y // STEP", "(frame.y//STEP)"),
    "docstrings": PROGRAM.replace('"""A codec."""\n', "").replace('    """Encode."""\n', ""),
    "names of local variables": PROGRAM.replace("plane", "quantised"),
    "annotations": PROGRAM.replace("STEP = 8", "STEP = 8\n").replace("qp)", "qp: float) -> object"),
}  # fmt: skip
OTHER = {
    "constants": PROGRAM.replace("STEP = 8", "STEP = 16"),
    "operators": PROGRAM.replace("//", "%"),
    "attributes": PROGRAM.replace("frame.y", "frame.u"),
    "names of functions": PROGRAM.replace("def encode", "def encode_all"),
    "a statement more": PROGRAM + "    yield b''\n",
}


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_change_the_program_does_not_matter(change: str) -> None:
    assert SAME[change] != PROGRAM
    assert normalised_digest(SAME[change]) == normalised_digest(PROGRAM)


@pytest.mark.parametrize("change", OTHER)
def test_what_changes_the_program_matters(change: str) -> None:
    assert OTHER[change] != PROGRAM
    assert normalised_digest(OTHER[change]) != normalised_digest(PROGRAM)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x):\n  return lambda p: p", "def f(x):\n  return lambda p: x"),
        ("if t:\n  a()\n  b()", "if t:\n  a()\nelse:\n  b()"),
        ("def f(y, u): return a.y", "def f(u, y): return a.u"),
        ("def f(a=a, b=b): return a - b", "def f(b=b, a=a): return b - a"),
        ("f(x=1)", "f(y=1)"),
        ("def f():\n  global q\n  q = 1", "def f():\n  global r\n  r = 1"),
        ("def f(a, b): return a", "def f(a, b): return b"),
        ("lambda a, b: a", "lambda a, b: b"),
        ("[a for a in x for b in y]", "[b for a in x for b in y]"),
        ("x[1:2]", "x[1:][:2]"),
        ("f(1, *a)", "f(*a, 1)"),
        ("x = '1'", "x = 1"),
    ],
)  # fmt: skip
def test_programs_that_do_different_things_are_told_apart(one: str, other: str) -> None:
    assert normalised_digest(one) != normalised_digest(other)


def test_texts_that_do_not_parse_are_compared_as_they_are() -> None:
    assert normalised_digest("def f(:") == normalised_digest("def f(:")
    assert normalised_digest("def f(:") != normalised_digest("def g(:")


def test_the_second_candidate_with_a_program_is_told_who_was_first() -> None:
    novelty = Novelty()
    assert novelty.claim("c0001", PROGRAM) is None
    assert novelty.claim("c0002", SAME["docstrings"]) == "c0001"
    assert novelty.claim("c0001", PROGRAM) is None
    assert novelty.claim("c0003", OTHER["constants"]) is None


def test_near_duplicates_differ_only_in_the_third_digit_of_float_constants() -> None:
    program = PROGRAM + "\nSCALE = 0.381\n"
    near, exact = Novelty(near=True), Novelty()
    for novelty in (near, exact):
        assert novelty.claim("c0001", program) is None
    assert near.claim("c0002", program.replace("0.381", "0.384")) == "c0001"
    assert exact.claim("c0002", program.replace("0.381", "0.384")) is None
    assert near.claim("c0003", program.replace("0.381", "0.39")) is None
    assert near.claim("c0004", program.replace("STEP = 8", "STEP = 9")) is None


def test_of_many_threads_exactly_one_is_first() -> None:
    novelty = Novelty()
    start = threading.Barrier(8)
    owners: list[str | None] = []

    def claim(candidate_id: str) -> None:
        start.wait()
        owners.append(novelty.claim(candidate_id, PROGRAM))

    threads = [threading.Thread(target=claim, args=(f"c{n:04d}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owners.count(None) == 1
    assert len({owner for owner in owners if owner}) == 1
