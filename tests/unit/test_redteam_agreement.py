"""What the static gate refuses as an existing codec is also what run time is attacked for."""

import re
from pathlib import Path

import cv2
import pytest

from evocodec.codec.program import Program
from evocodec.domain.candidate import Review
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.redteam.attacks import ALL_ATTACKS, select_attacks
from evocodec.sandbox.review.static_review import review_program
from evocodec.sandbox.review.static_rules import (
    CODEC,
    CODEC_FUNCTIONS,
    CODEC_LIBRARIES,
    CODEC_NAMES,
    PATHS,
)
from tests.support.default_options import default_policy


def review_source(text: str, policy: Policy) -> Review:
    return review_program(Program(text), policy)


OPENCV_CODECS = [name for name in dir(cv2) if re.fullmatch(CODEC_NAMES.pattern, name)]
FRAME = (
    "def encode(frames, stream, qp):\n    yield {use}\ndef decode(packets, stream):\n    yield 1\n"
)


def rules_against(imports: str, use: str) -> set[str]:
    review = review_source(f"{imports}\n" + FRAME.format(use=use), default_policy())
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


def rows_of_the_table() -> list[list[str]]:
    page = (Path(__file__).parents[2] / "docs" / "redteam.md").read_text(encoding="utf-8")
    lines = page.split("| forbidden |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("row", rows_of_the_table(), ids=lambda row: row[0])
def test_each_row_of_the_table_is_refused_by_its_rule_and_attacked(row: list[str]) -> None:
    _forbidden, example, rule, run_time, attack = row
    assert attack.strip("`") in {one.name for one in ALL_ATTACKS}
    assert run_time
    if rule == "size":
        return
    *imports, use = example.strip("`").split("; ")
    if use.startswith("import "):
        imports, use = [*imports, use], "1"
    assert rule in rules_against("\n".join(imports), use)


def test_the_table_has_every_rule_against_codecs_and_files() -> None:
    rules = {row[2] for row in rows_of_the_table()}
    assert {"library_codec", "file_access", "import", "builtin", "dunder", "size"} <= rules


@pytest.mark.parametrize(
    "name",
    ["libavcodec.so.60", "libavcodec-c4204469.so.62.28.101", "libx265.so.199", "libSvtAv1Enc.so.1",
     "libpng16-529cb57a.so.16.58.0", "libjpeg.so.62", "libwebpdemux-9fe2abcc.so.2.0.17",
     "libtiff-20b7e810.so.6.3.0", "libtheoraenc.so.1", "libheif.so.1.15.1", "libjxl_threads.so.0"],
)  # fmt: skip
def test_libraries_of_codecs_are_known_by_their_names(name: str) -> None:
    assert CODEC_LIBRARIES.match(name)


@pytest.mark.parametrize(
    "name",
    ["libc.so.6", "libavahi-client.so.3", "libopenblasp-r0-59ffcd50.3.15.so", "libgfortran.so.5",
     "libpngx.so", "libz.so.1", "libgomp.so.1", "libswiftCore.so", "libjpegs.txt"],
)  # fmt: skip
def test_other_libraries_are_left_alone(name: str) -> None:
    assert not CODEC_LIBRARIES.match(name)


def test_pillows_plain_samples_stay() -> None:
    pattern = re.compile(CODEC_FUNCTIONS["PIL._imaging"])
    assert pattern.fullmatch("jpeg_encoder")
    assert pattern.fullmatch("zip_decoder")
    assert not pattern.fullmatch("raw_encoder")
    assert not pattern.fullmatch("convert")
