"""What the static gate says of data in a program's text: bitstreams are refused, tables pass."""

import base64
import random
from pathlib import Path

import numpy as np
import pytest

import evocodec.codec.seeds
from evocodec.app.stage_settings import program_charge, thresholds
from evocodec.codec.program import Program, derive_facts
from evocodec.config import Settings
from evocodec.domain.candidate import Review
from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.review.static_review import review_program
from tests.support.default_options import default_policy

CODEC = """
def encode(frames, stream, qp):
    for frame in frames:
        yield b""


def decode(packets, stream):
    for packet in packets:
        yield packet
"""
SEEDS = [
    path
    for path in Path(evocodec.codec.seeds.__file__).parent.glob("*.py")
    if "__" not in path.name
]
HEVC_BITS = 8 * 13_133.0  # of a built-in clip at the operating quality, the mean of three
STREAM = random.Random(1).randbytes(24_000)


def review(text: str) -> Review:
    return review_program(Program(text), default_policy())


def refused(text: str) -> bool:
    rules = {finding.rule for finding in review(text + CODEC).findings}
    assert rules <= {GateRule.LITERAL, GateRule.REVIEW_LIMIT}, rules
    return bool(rules)


def pieces(size: int) -> list[bytes]:
    return [STREAM[at : at + size] for at in range(0, len(STREAM), size)]


DATA = {
    "bytes": f"MEMO = {STREAM[:3000]!r}\n",
    "hexadecimal digits": f'MEMO = "{STREAM[:3000].hex()}"\n',
    "base64": f'MEMO = "{base64.b64encode(STREAM[:3000]).decode()}"\n',
    "letters beyond Latin": "MEMO = '" + "".join(chr(0x4E00 + b) for b in STREAM[:3000]) + "'\n",
    "one large integer": f"MEMO = {hex(int.from_bytes(STREAM[:3000]))}\n",
    "a list of numbers": f"MEMO = {list(STREAM[:9000])}\n",
    "lists within a list": f"MEMO = {[list(piece) for piece in pieces(40)[:300]]}\n",
    "fractions": f"MEMO = {[byte / 7 for byte in STREAM[:9000]]}\n",
    "a dictionary": f"MEMO = {dict(enumerate(piece.hex() for piece in pieces(40)[:250]))}\n",
    "many small literals": "".join(f'M{n} = "{p.hex()}"\n' for n, p in enumerate(pieces(40))),
    "many small numbers": "m = [].append\n" + "".join(f"m({b})\n" for b in STREAM[:20_000]),
    "a sum of small literals": "MEMO = (" + " + ".join(f"{p!r}" for p in pieces(20)) + ")\n",
    "a docstring": f'"""{STREAM[:3000].hex()}"""\n',
    "one long name": f"m{STREAM[:200].hex()} = 1\n",
    "names": "".join(f"m{piece.hex()} = 1\n" for piece in pieces(32)),
    "names of arguments": "MEMO = dict(" + ", ".join(f"m{p.hex()}=1" for p in pieces(32)) + ")\n",
    "comments": "".join(f"# {piece.hex()}\n" for piece in pieces(32)),
}


@pytest.mark.parametrize("form", DATA)
def test_a_bitstream_is_refused_in_whatever_form_it_stands_in_the_text(form: str) -> None:
    assert refused(DATA[form])


def basis(size: int) -> list[list[int]]:
    row, column = np.arange(size)[:, None], np.arange(size)
    cosines = np.cos(np.pi * (2 * column + 1) * row / (2 * size))
    return [[int(value) for value in line] for line in np.rint(90 * cosines)]


TABLES = {
    "a transform of 64 points": f"BASIS = {basis(64)}\n",
    "probabilities of 64 contexts": "CDF = "
    + str(np.sort(np.random.default_rng(1).integers(0, 32768, (64, 16))).tolist())
    + "\n",
    "quantiser steps": f"STEPS = {[round(2 ** (qp / 6), 4) for qp in range(64)]}\n",
    "a long text that says little": f"MASK = '{'0110' * 4000}'\n",
    "a long docstring": '"""' + "The transform is a cosine transform. " * 200 + '"""\n',
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_that_codecs_have_are_accepted(table: str) -> None:
    assert not refused(TABLES[table])


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.stem)
def test_the_seed_programs_are_below_every_limit_on_size(seed: Path) -> None:
    assert review(seed.read_text()).accepted
    packed = derive_facts(seed.read_text()).packed_bytes
    assert packed < 1024 * Settings().limits.max_program_kib


CARPHONE = random.Random(2).randbytes(48_000)
"""As many bytes as the four bitstreams of the seed's carphone curve, and as hard to compress."""


@pytest.mark.parametrize("piece", [len(CARPHONE), 40])
def test_the_seed_with_its_own_bitstreams_beside_it_is_refused_and_pays_for_them(
    piece: int,
) -> None:
    parts = [CARPHONE[at : at + piece].hex() for at in range(0, len(CARPHONE), piece)]
    memo = "".join(f'MEMO_{number} = "{part}"\n' for number, part in enumerate(parts))
    seed = next(path for path in SEEDS if path.stem == "inter").read_text()
    text = f"{seed}\n{memo}"
    assert GateRule.LITERAL in {finding.rule for finding in review(text).findings}

    packed = derive_facts(text).packed_bytes
    limits = thresholds(Settings()).limits
    assert packed > limits.max_program_bytes > 0
    charged = program_charge(Settings()).charged_bytes(packed, HEVC_BITS)
    # On top of 13.6 Mbit/s: what the streams of the built-in clips bear, as they are charged it.
    assert 80 * charged / HEVC_BITS > 10


def test_who_embeds_trained_weights_raises_the_limit() -> None:
    text = DATA["bytes"] + CODEC
    assert not review(text).accepted
    wide = default_policy(max_literal_bytes=4096)
    assert review_program(Program(text), wide).accepted
