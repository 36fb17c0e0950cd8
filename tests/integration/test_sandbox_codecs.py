"""Existing codecs are absent from jobs, and what they came with still works."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evocodec.domain.errors import CandidateFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.domain.vocabulary import AttackOutcome
from evocodec.guest.codec_removal import exclude
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import DEFAULT_IMPORTS, Mode
from evocodec.sandbox.redteam.attacks import select_attacks
from evocodec.sandbox.redteam.runner import run_attacks
from tests.support.default_options import default_limits, default_policy

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux"),
    pytest.mark.skipif(importlib.util.find_spec("PIL") is None, reason="Pillow is not installed"),
]
WITH_PILLOW = default_policy(allowed_imports=DEFAULT_IMPORTS | {"PIL"})


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(WITH_PILLOW) as running:
        yield running


def say(launcher: ForkServerLauncher, lines: str) -> bytes:
    """What the program's ``say`` is after these lines."""
    program = (
        "import numpy as np\ndef encode(frames, stream, qp):\n"
        + "".join(f"    {line}\n" for line in lines.strip().splitlines())
        + "    yield str(say).encode()\ndef decode(packets, stream):\n    yield from ()\n"
    )
    planes = (np.zeros((2, 2), np.uint8), *(np.zeros((1, 1), np.uint8) for _ in "uv"))
    stream = StreamInfo(2, 2, Fraction(30), 1)
    packets = launcher.encode(program, [Frame(*planes)], stream, 30.0, default_limits()).packets
    return b"".join(packets)


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_codecs_of_libraries_that_are_allowed_cannot_be_had(mode: Mode) -> None:
    names = ("pillow-codecs", "opencv-codecs", "native-codecs", "codecs-of-the-system")
    attacks = select_attacks([*names, "restore-removed-functions"])
    policy = default_policy(allowed_imports=DEFAULT_IMPORTS | {"PIL"}, mode=mode)
    report = run_attacks(lambda: ForkServerLauncher(policy), attacks, policy)
    assert [f"{r.attack.name}: {r.finding}" for r in report.failed] == []
    layers = {r.attack.name: r.finding.layer for r in report.results}
    assert layers["pillow-codecs"] == "disabled function"


@pytest.fixture
def torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that brings Pillow in, where the real one has no build."""
    site = tmp_path / "site-packages"
    files = {
        "torchvision/__init__.py": "from PIL import Image, ImageOps\n",
        "torchvision-0.1.dist-info/METADATA": "Name: torchvision\nRequires-Dist: pillow>=5\n",
        "torchvision-0.1.dist-info/RECORD": "torchvision/__init__.py,,\n",
    }
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(site)


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_torchvision_brings_pillow_in_but_none_of_its_codecs(mode: Mode) -> None:
    (attack,) = select_attacks(["pillow-codecs"])
    through = attack.program.replace("import PIL.Image\n", "import torchvision, PIL.Image\n", 1)
    assert through != attack.program
    attacks = [replace(attack, program=through)]
    policy = default_policy(mode=mode)
    report = run_attacks(lambda: ForkServerLauncher(policy), attacks, policy)
    assert [f"{r.finding.verdict} {r.finding.layer}" for r in report.results] == [
        "held disabled function"
    ]
    allowed = default_policy(mode=mode, allow_library_codecs=True, paths_open=True)
    report = run_attacks(lambda: ForkServerLauncher(allowed), attacks, allowed)
    assert report.results[0].finding.verdict is AttackOutcome.BROKEN


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_no_codec_of_pillow_is_there_as_a_module_or_a_file(mode: Mode) -> None:
    folder = Path(importlib.import_module("PIL").__path__[0])
    names = sorted(path.stem for path in folder.glob("*ImagePlugin.py"))
    assert len(names) > 30
    lines = f"""
import importlib, os, torchvision
say = torchvision.Image.new("L", (2, 2)).size, torchvision.ImageOps.invert.__name__
for name in {names!r}:
    try: say += (importlib.import_module("PIL." + name).__name__,)
    except ModuleNotFoundError: pass
    for path in (f"{folder}/{{name}}.py", f"{folder}/__pycache__/{{name}}.cpython-311.pyc"):
        try: say += (path,) if open(path, "rb").read(1) else ()
        except OSError: pass
"""
    with ForkServerLauncher(default_policy(mode=mode)) as launcher:
        assert say(launcher, lines) == b"((2, 2), 'invert')"


def test_all_else_of_opencv_works(launcher: ForkServerLauncher) -> None:
    lines = """
import cv2
noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
flow = cv2.DISOpticalFlow_create().calc(noise, np.roll(noise, 2, 1), None)
coded = cv2.dct(cv2.resize(noise, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))
say = flow.shape, float(abs(cv2.idct(coded)).sum()) > 0, cv2.GaussianBlur(noise, (3, 3), 0).shape
"""
    assert say(launcher, lines) == b"((64, 64, 2), True, (64, 64))"


def test_all_else_of_pillow_works(launcher: ForkServerLauncher) -> None:
    lines = """
from PIL import Image, ImageDraw, ImageFilter
picture = Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).resize((4, 4), Image.LANCZOS)
ImageDraw.Draw(picture.filter(ImageFilter.BLUR)).line((0, 0, 3, 3))
say = np.asarray(picture.convert("L")).tolist()[0]
"""
    assert say(launcher, lines) == b"[7, 7, 7, 7]"


def test_a_policy_may_leave_them_where_they_are() -> None:
    lines = """
import cv2
say = cv2.imdecode(cv2.imencode(".png", np.full((4, 4, 3), 9, np.uint8))[1], 1).mean()
"""
    with ForkServerLauncher(default_policy(allow_library_codecs=True)) as allowed:
        assert say(allowed, lines) == b"9.0"
    with (
        ForkServerLauncher(default_policy()) as usual,
        pytest.raises(CandidateFailure, match="existing codecs"),
    ):
        say(usual, lines)


def test_masked_paths_are_left_out_of_trees_with_the_links_to_them(tmp_path: Path) -> None:
    for name in ("a/code.so", "a/data", "a/deep/libx264.so.1", "a/deep/other", "b/file"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "deep" / "libx264.so").symlink_to("libx264.so.1")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    kept, opened = exclude([a, b], [f"{a}/code.so", f"{a}/deep/libx264.so.1"])
    assert sorted(kept) == [f"{a}/data", f"{a}/deep/other", b]
    assert sorted(opened) == [a, f"{a}/deep"]
    assert exclude([a, b], []) == ([a, b], [])
