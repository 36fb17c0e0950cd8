"""Every marked alternative of the seed codec decodes alike in another process, on an older CPU."""

import os
import pickle
import random
import subprocess
import sys

import pytest

from evocodec.codec.tunables import Tunable
from tests.unit.test_seed_programs import (
    MARKS,
    PROGRAM,
    PROGRAMS,
    digest_of,
    load,
    moving_clip,
    psnr_y_db,
)

# Forty seconds on an idle core, minutes on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

OLD_CPU = {
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL "
    "AVX512_ICL AVX512_SPR",
}
DECODER = """
import hashlib, pickle, sys, types
jobs, result = pickle.load(sys.stdin.buffer), []
for source, packets, stream in jobs:
    program = types.ModuleType("candidate")
    exec(compile(source, "candidate", "exec"), program.__dict__)
    digest = hashlib.sha256()
    for frame in program.decode(iter(packets), stream):
        for plane in frame:
            digest.update(plane.tobytes())
    result.append(digest.hexdigest())
pickle.dump(result, sys.stdout.buffer)
"""


def edges_of(mark: Tunable) -> tuple[str, ...]:
    if mark.kind == "choice":
        return mark.choices
    ends = (mark.low, mark.high)
    return tuple(str(int(v)) if mark.kind == "int" else str(v) for v in ends)


def random_edits(rng: random.Random) -> list[tuple[str, str]]:
    edits = []
    for mark in MARKS:
        if mark.kind == "choice":
            value = rng.choice(mark.choices)
        elif mark.kind == "int":
            value = str(rng.randint(int(mark.low), int(mark.high)))
        else:
            value = f"{rng.uniform(mark.low, mark.high):.3f}"
        edits.append((mark.name, value))
    return edits


def variants() -> list[str]:
    rng = random.Random(7)
    single = [PROGRAM.edited([(m.name, value)]).text for m in MARKS for value in edges_of(m)]
    return [*dict.fromkeys([*single, *(PROGRAM.edited(random_edits(rng)).text for _ in range(6))])]


def test_every_marked_alternative_decodes_alike_in_another_process_on_an_older_cpu() -> None:
    frames, stream = moving_clip(35, 27, 4)
    jobs, here = [], []
    for source in variants():
        program = load(source)
        packets = list(program.encode(iter(frames), stream, 18.0))
        decoded = list(program.decode(iter(packets), stream))
        assert psnr_y_db(frames, decoded) > 30
        jobs.append((source, packets, stream))
        here.append(digest_of(decoded))
    done = subprocess.run(
        [sys.executable, "-c", DECODER],
        input=pickle.dumps(jobs),
        capture_output=True,
        check=True,
        env={**os.environ, **OLD_CPU, "PYTHONPATH": str(PROGRAMS.parents[2])},
    )
    assert pickle.loads(done.stdout) == here
