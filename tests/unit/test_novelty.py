"""What counts as the same program, and who was first with it."""

import threading

from evocodec.search.novelty import Novelty

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
