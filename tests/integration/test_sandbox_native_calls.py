"""Programs that import nothing that needs ctypes cannot call native code through it."""

import importlib.util
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from evocodec.domain.video import Frame, StreamInfo
from evocodec.domain.vocabulary import AttackOutcome
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import DEFAULT_IMPORTS, Mode, Policy
from evocodec.sandbox.redteam.attack import Attack, AttackFinding
from evocodec.sandbox.redteam.attacks import select_attacks
from evocodec.sandbox.redteam.runner import run_attacks
from tests.support.default_options import default_limits, default_policy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
(ATTACK,) = select_attacks(["cheating/ctypes"])
MENTIONS_NUMBA = replace(ATTACK, program="if False: import numba\n" + ATTACK.program)
WAYS = ("anew", "from_table", "of_the_guest", "found", "wrapped", "in_a_class", "loaded_again")


def mount(policy: Policy, *attacks: Attack) -> list[AttackFinding]:
    report = run_attacks(lambda: ForkServerLauncher(policy), attacks, policy)
    return [result.finding for result in report.results]


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_each_way_works_but_for_what_is_cut_off(mode: Mode) -> None:
    tried = f"for way in ({', '.join(WAYS)})"
    assert tried in ATTACK.program
    alone = [
        replace(MENTIONS_NUMBA, program=MENTIONS_NUMBA.program.replace(tried, f"for way in ({w},)"))
        for w in WAYS
    ]
    shown = [
        finding.detail
        for finding in mount(default_policy(mode=mode, paths_open=True), ATTACK, *alone)
    ]
    assert shown == ["it found nothing", *(f"encode shows {way}" for way in WAYS)]


def test_naming_a_library_that_is_not_allowed_gives_nothing_back() -> None:
    plain = default_policy(
        allowed_imports=DEFAULT_IMPORTS - {"numba", "scipy", "torch", "torchvision"}
    )
    (finding,) = mount(plain, MENTIONS_NUMBA)
    assert finding.verdict is AttackOutcome.HELD


def test_libraries_that_need_it_work_and_so_does_the_rest_without() -> None:
    plain = "np.ones(3).ctypes.data > 0, cv2.dct(np.ones((8, 8), np.float32))[0, 0], len(model)"
    uses = {
        "import constriction, cv2": plain,
        "from scipy import ndimage, signal": "ndimage.sobel(np.ones((3, 3))).sum()",
    }
    if importlib.util.find_spec("numba") is not None:
        uses["import numba"] = "numba.njit(lambda a: a + 1)(1)"
    small = np.zeros((1, 1), np.uint8)
    frames, stream = (
        [Frame(np.zeros((2, 2), np.uint8), small, small)],
        StreamInfo(2, 2, Fraction(30), 1),
    )
    said: list[bytes] = []
    with ForkServerLauncher(default_policy()) as launcher:
        for imports, use in uses.items():
            program = (
                f"import numpy as np\n{imports}\nmodel = [1]\n"
                f"def encode(frames, stream, qp):\n    yield str(({use})).encode()\n"
                "def decode(packets, stream):\n    yield from ()\n"
            )
            said += launcher.encode(program, frames, stream, 30.0, default_limits()).packets
    assert said[0].startswith(b"(True, ")
    assert said[1:] == [b"0.0", b"2"][: len(uses) - 1]
