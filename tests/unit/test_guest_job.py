"""Loading a program and describing what it raised, without any process around it."""

import sys
from collections.abc import Iterator

import pytest

from evocodec.guest.job import describe_error, load
from evocodec.guest.wire import BadOutputError

CODEC = "def encode(frames, stream, qp):\n    yield b''\ndef decode(packets, stream):\n    yield\n"


@pytest.fixture(autouse=True)
def _leave_no_candidate() -> Iterator[None]:
    yield
    sys.modules.pop("candidate", None)


def described(error: BaseException) -> list[str]:
    return describe_error(error).decode().split("\0")


def raised_by(source: str) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any error of the program
        list(load(source)[0](iter(()), None, 0.0))  # type: ignore[arg-type]
    return caught.value


def test_the_two_functions_are_found() -> None:
    encode, decode = load(CODEC)
    assert encode.__name__ == "encode"
    assert decode.__name__ == "decode"


def test_dataclasses_with_postponed_annotations_work_in_a_program() -> None:
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    source += "@dataclass\nclass A:\n    x: int = 1\n"
    assert load(source + CODEC)


def test_only_the_programs_own_lines_are_quoted() -> None:
    source = CODEC.replace("yield b''", "import json; json.loads('{'); yield b''")
    kind, message, detail = described(raised_by(source))
    assert kind == "exception"
    assert message.startswith("JSONDecodeError: ")
    assert 'File "candidate.py", line 2, in encode' in detail
    assert "json.loads('{')" in detail
    assert "decoder.py" not in detail


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (PermissionError(1, "x"), "forbidden"),
        (BadOutputError("x"), "bad_output"),
        (ValueError("x"), "exception"),
        (SystemExit(0), "exception"),
        (KeyboardInterrupt(), "exception"),
    ],
)
def test_errors_are_sorted_into_kinds(error: BaseException, kind: str) -> None:
    assert described(error)[0] == kind


def test_a_hostile_message_neither_escapes_nor_floods() -> None:
    class Hostile(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise SystemExit(3)

    assert "SystemExit" in described(Hostile())[1]
    assert len(describe_error(ValueError("x" * 10_000_000))) < 20_000
    assert len(described(ValueError("a\0b\0c"))) == 3
    assert described(ValueError("\ud800"))[1].startswith("ValueError")


def test_a_program_without_codec_names_what_is_missing() -> None:
    with pytest.raises(ValueError, match="encode"):
        load("x = 1")
