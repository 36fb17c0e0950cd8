"""Finding the program in what a model says; every way of not finding one is named."""

import pytest

from agents.extract import extract_program
from evocodec.domain.errors import CandidateFailure, FailureKind

PROGRAM = """\
import numpy as np

STEP = 8


def encode(frames, stream, qp):
    for frame in frames:
        yield (frame.y // STEP).tobytes()


def decode(packets, stream):
    for packet in packets:
        yield np.frombuffer(packet, np.uint8)
"""
PER_FRAME = """\
def compress_video_frame(frame, frame_index, config):
    return frame.tobytes()


def decompress_video_frame(data, frame_index, config):
    return data
"""
HALVES = PROGRAM.split("\n\n\n", 2)
INDENTED = "1. Do this:\n\n" + "\n".join("   " + line for line in
                                         ["```python", *PROGRAM.splitlines(), "```"])  # fmt: skip


def edit(old: str, new: str) -> str:
    return f"<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n"


@pytest.mark.parametrize(
    "reply",
    [
        f"```python\n{PROGRAM}```",
        f"Sure!\n\n```python\n{PROGRAM}```\nThat should save bits.",
        f"```\n{PROGRAM}```",
        f"~~~py\n{PROGRAM}~~~",
        f"````python\n{PROGRAM}````",
        f"```python title=codec.py\n{PROGRAM}```",
        f"First a test:\n```bash\npython codec.py\n```\nthen\n```python\n{PROGRAM}```\nuse:\n"
        "```python\nfor p in encode(f, s, 30): print(p)\n```",
        f"<think>maybe\n```python\ndef encode(): pass\ndef decode(): pass\n```\n</think>\n"
        f"```python\n{PROGRAM}```",
        f"```python\n{PROGRAM}",
        PROGRAM,
        f"Here is the program you asked for.\n\n{PROGRAM}\nI hope this helps!",
        f"```python\r\n{PROGRAM}```".replace("\n", "\r\n").replace("\r\r", "\r"),
        INDENTED,
    ],
    ids=range(13),
)
def test_a_whole_program_is_found_however_it_is_wrapped(reply: str) -> None:
    assert extract_program(reply, "").program.text == PROGRAM


def test_a_program_in_several_blocks_is_put_together() -> None:
    blocks = "\n".join(f"Part:\n```python\n{half}\n```" for half in HALVES)
    source = extract_program(blocks, "").program.text
    namespace: dict[str, object] = {}
    exec(source, namespace)  # a test's own text
    assert {"encode", "decode", "STEP", "np"} <= namespace.keys()


def test_the_per_frame_form_is_a_program_too() -> None:
    assert extract_program(f"```python\n{PER_FRAME}```", "").program.text == PER_FRAME


def test_edits_apply_in_order_to_the_program_that_was_shown() -> None:
    reply = (
        "Finer steps.\n```\n"
        + edit("STEP = 8\n", "STEP = 4\nBIAS = 1\n")
        + "```\nand\n"
        + edit("BIAS = 1\n", "BIAS = 2\n")
    )
    found = extract_program(reply, PROGRAM)
    assert found.program.text == PROGRAM.replace("STEP = 8", "STEP = 4\nBIAS = 2")
    assert found.how == "2 edits of the given program"


def test_an_edit_forgives_white_space_at_line_ends() -> None:
    base = PROGRAM.replace("STEP = 8", "STEP = 8  ")
    assert "STEP = 2" in extract_program(edit("STEP = 8\n", "STEP = 2\n"), base).program.text
    assert "STEP = 2" in extract_program(edit("STEP = 8 \n", "STEP = 2\n"), PROGRAM).program.text


def test_an_edit_matches_whole_lines_only() -> None:
    base = PROGRAM.replace("STEP = 8", "FIRST_STEP = 8\nSTEP = 8")
    found = extract_program(edit("STEP = 8\n", "STEP = 2\n"), base)
    assert found.program.text == base.replace("\nSTEP = 8", "\nSTEP = 2")


def test_an_edit_may_delete() -> None:
    base = PROGRAM.replace("STEP = 8\n", "STEP = 8\nUNUSED = 1\n")
    assert extract_program(edit("UNUSED = 1\n", ""), base).program.text == PROGRAM


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("", "was empty"),
        ("  \n\n", "was empty"),
        ("<think>hmm, hard", "was empty"),
        ("I'm sorry, but I can't help with that.", "declined"),
        ("Use hierarchical B-frames and a better entropy coder.", "it is prose"),
        ("```python\ndef encode(frames, stream, qp)\n    pass\n```", "does not parse: line 1"),
        ("```python\nimport numpy as np\nx = 1\n```", "lacks the function decode and encode"),
        ("```python\ndef encode(f, s, q):\n    yield b''\n```", "lacks the function decode"),
        ("def encode(frames, stream, qp):\n    yield b'", "does not parse"),
        (edit("STEP = 9\n", "STEP = 4\n"), "Edit 1: its SEARCH text was not found"),
        (edit("    yield 1\n", "    yield 2\n"), "was not found"),
        (edit("\n", "x\n"), "SEARCH text is empty"),
        ("<<<<<<< SEARCH\nSTEP = 8\n=======\nSTEP = 4\n", "malformed"),
        (edit("STEP = 8\n", "STEP = (\n"), "does not parse"),
        (
            edit("def encode(frames, stream, qp):\n", "def coder(frames, stream, qp):\n"),
            "lacks the function encode",
        ),
    ],
)
def test_every_way_to_give_no_program_is_named(reply: str, message: str) -> None:
    with pytest.raises(CandidateFailure) as raised:
        extract_program(reply, PROGRAM)
    assert raised.value.kind is FailureKind.NO_CODE
    assert message in raised.value.message


def test_an_edit_that_fits_twice_is_refused() -> None:
    base = PROGRAM + "\n\ndef other(frames):\n    for frame in frames:\n        pass\n"
    with pytest.raises(CandidateFailure, match="Edit 1: its SEARCH text occurs 2 times"):
        extract_program(edit("    for frame in frames:\n", "    while True:\n"), base)


def test_a_syntax_error_shows_the_lines_around_it() -> None:
    broken = PROGRAM.replace("STEP = 8", "STEP = = 8")
    with pytest.raises(CandidateFailure) as raised:
        extract_program(f"```python\n{broken}```", "")
    assert ">    3 STEP = = 8" in raised.value.detail


@pytest.mark.parametrize("hostile", ["`" * 5000, "{" * 5000, "<<<<<<< SEARCH\n" * 500,
                                     "```\n" * 3000, "(" * 3000, "def f():\n" * 2000])  # fmt: skip
def test_absurd_replies_are_refused_quickly(hostile: str) -> None:
    with pytest.raises(CandidateFailure):
        extract_program(hostile, PROGRAM)
