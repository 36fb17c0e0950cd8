"""What the static gate refuses as an existing codec is also what run time is attacked for."""

import re

import cv2
import pytest

from evocodec.sandbox.policy import Policy
from evocodec.sandbox.redteam.attacks import select_attacks
from evocodec.sandbox.static_review import review_source
from evocodec.sandbox.static_rules import CODEC, CODEC_NAMES, PATHS

OPENCV_CODECS = [name for name in dir(cv2) if re.fullmatch(CODEC_NAMES.pattern, name)]
FRAME = (
    "def encode(frames, stream, qp):\n    yield {use}\ndef decode(packets, stream):\n    yield 1\n"
)


def rules_against(imports: str, use: str) -> set[str]:
    review = review_source(f"{imports}\n" + FRAME.format(use=use), Policy())
    return {finding.rule for finding in review.findings}


@pytest.mark.parametrize("name", OPENCV_CODECS)
def test_the_gate_refuses_each_codec_that_run_time_disables(name: str) -> None:
    assert rules_against("import cv2", f"cv2.{name}") == {"library_codec"}


def test_run_time_is_attacked_with_the_gates_own_pattern() -> None:
    (attack,) = select_attacks(["opencv-codecs"])
    assert repr(CODEC_NAMES.pattern) in attack.program
    assert {"imencode", "imdecode", "VideoWriter", "VideoCapture"} <= set(OPENCV_CODECS)


@pytest.mark.parametrize("module", ["PIL", "av", "imageio", "imageio_ffmpeg", "skvideo"])
def test_the_gate_refuses_each_library_whose_absence_is_attacked(module: str) -> None:
    (attack,) = select_attacks(["other-codec-libraries"])
    assert f'"{module}' in attack.program
    assert rules_against(f"import {module}", "1")


def test_codec_paths_below_allowed_libraries_are_refused_and_attacked() -> None:
    (attack,) = select_attacks(["other-codec-libraries"])
    paths = [path for path, rule in PATHS.items() if rule == CODEC and "." in path]
    for path in paths:
        assert "library_codec" in rules_against(f"import {path.split('.')[0]}", path)
    assert "torchvision.io" in attack.program
    assert "torchvision.io" in paths
