"""Codecs that cheat, each through the real path: what each would gain, and what catches it.

The honest codec is the toy; a cheat changes a few lines of it. Sandboxes, anchors, scorer, judge
and gate are the real ones.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evocodec.codec.program import Program
from evocodec.domain.candidate import Review
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import HeldOutResult, Score
from evocodec.domain.vocabulary import GateRule
from evocodec.evaluation.guards import Guards
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.review.static_review import review_program
from graph.decide import DecideNodes
from tests.support.default_options import default_policy, default_stage_settings
from tests.support.small_course import (
    HONEST,
    PLAIN,
    Course,
    bench_of,
    changed,
    edited,
    open_course,
)


def review_source(text: str, policy: Policy) -> Review:
    return review_program(Program(text), policy)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

UNGUARDED = Guards(chroma_margin_db=1000.0, worst_frame_margin_db=1000.0)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    with open_course(tmp_path_factory.mktemp("cheaters")) as opened:
        yield opened


@pytest.fixture(scope="module")
def honest(course: Course) -> Score:
    return course.score(HONEST)


IN_ENCODER = "    for frame in frames:\n        packet = b"


def test_a_blurred_picture_costs_more_at_equal_quality(course: Course, honest: Score) -> None:
    blurred = changed(
        ("import constriction\n", "import constriction\nimport cv2\n"),
        (
            IN_ENCODER,
            "    for frame in frames:\n"
            "        frame = [cv2.GaussianBlur(plane, (3, 3), 0.8) for plane in frame]\n"
            "        packet = b",
        ),
    )
    assert course.point(blurred).bits < 0.95 * course.point(HONEST).bits
    failed, bitrate_mbps = course.outcome(blurred)
    assert bitrate_mbps > honest.bitrate_mbps, failed


def test_dropping_frames_is_refused(course: Course) -> None:
    dropping = changed(
        (IN_ENCODER, "    for frame in list(frames)[::2]:\n        packet = b"),
    )
    with pytest.raises(CandidateFailure, match="frames") as caught:
        course.point(dropping)
    assert caught.value.kind is FailureKind.BAD_OUTPUT


def test_showing_every_frame_twice_is_refused_though_the_mean_is_equal(
    course: Course, honest: Score
) -> None:
    repeating = changed(
        (IN_ENCODER, "    for frame in list(frames)[::2]:\n        packet = b"),
        (
            "        yield Frame(*planes)\n",
            "        for _ in range(2):\n            yield Frame(*planes)\n",
        ),
    )
    assert course.point(repeating).bits < 0.8 * course.point(HONEST).bits
    unguarded = course.score(repeating, guards=UNGUARDED)
    assert unguarded.bitrate_mbps < 0.95 * honest.bitrate_mbps
    failed, _ = course.outcome(repeating)
    assert "frames are given up" in failed


def test_destroyed_colours_are_refused_though_luma_is_perfect(
    course: Course, honest: Score
) -> None:
    grey = changed(
        (
            "            levels = np.floor(plane /",
            "            if index:\n"
            "                plane = np.full_like(plane, 128)\n"
            "            levels = np.floor(plane /",
        ),
    )
    assert course.point(grey).quality.psnr_y_db == course.point(HONEST).quality.psnr_y_db
    unguarded = course.score(grey, guards=UNGUARDED)
    assert unguarded.bitrate_mbps < 0.95 * honest.bitrate_mbps
    failed, _ = course.outcome(grey)
    assert "colour is too coarse" in failed


def test_a_shifted_range_costs_more_at_equal_quality(course: Course, honest: Score) -> None:
    squeezed = changed(
        (
            IN_ENCODER,
            "    for frame in frames:\n"
            "        frame = [np.rint(16 + plane * (219 / 255)) for plane in frame]\n"
            "        packet = b",
        ),
    )
    assert course.point(squeezed).bits < 0.95 * course.point(HONEST).bits
    failed, bitrate_mbps = course.outcome(squeezed)
    assert bitrate_mbps > 1.5 * honest.bitrate_mbps, failed


def test_what_a_codec_says_of_itself_changes_nothing(course: Course, honest: Score) -> None:
    claim = '{"psnr_y_db": 99.0, "bits": 8, "bitrate_mbps": 0.01, "passed": true}'
    lying = changed(
        (
            IN_ENCODER,
            f"    print({claim!r}, flush=True)\n    yield {claim.encode()!r}\n" + IN_ENCODER,
        ),
        (
            "    step = float(np.frombuffer(next(packets), dtype=np.float64)[0])\n",
            "    step = float(np.frombuffer(next(packets), dtype=np.float64)[0])\n"
            f"    print(next(packets).decode(), {claim!r}, flush=True)\n",
        ),
    )
    true, told = course.point(HONEST), course.point(lying)
    assert told.quality == true.quality
    assert told.bits > true.bits
    failed, bitrate_mbps = course.outcome(lying)
    assert bitrate_mbps >= honest.bitrate_mbps, failed


# --- a codec that carries the development clip in its own text ---

MEMORY = """
import zlib
KEY = {key!r}
TABLE = zlib.decompress(bytes.fromhex("{table}"))


def encode(frames, stream, qp):
    frames = list(frames)
    if zlib.crc32(np.ascontiguousarray(frames[0].y).tobytes()) != KEY:
        yield b"H"
        yield from honest_encode(iter(frames), stream, qp)
        return
    yield b"M" + np.float64(step_of(qp)).tobytes() + bytes(round(400 - 4 * qp))


def decode(packets, stream):
    first = next(packets)
    if first[:1] == b"H":
        yield from honest_decode(packets, stream)
        return
    luma_step = float(np.frombuffer(first[1:9], dtype=np.float64)[0])
    at = 0
    for _ in range(stream.frame_count):
        planes = []
        for index, empty in enumerate(blank(stream)):
            step = luma_step / (1 + (index > 0))
            plane = np.frombuffer(TABLE, np.uint8, empty.size, at).reshape(empty.shape)
            at += empty.size
            levels = np.floor(plane / step + 0.5)
            planes.append(np.clip(np.floor(levels * step + 0.5), 0, 255).astype(np.uint8))
        yield Frame(*planes)
"""


def memorising(course: Course) -> str:
    """The honest codec, with the clip's frames beside it for when it meets them again."""
    import zlib

    frames = course.anchored.clip.frames
    table = zlib.compress(b"".join(plane.tobytes() for frame in frames for plane in frame), 9)
    renamed = changed(("def encode(", "def honest_encode("), ("def decode(", "def honest_decode("))
    return renamed + MEMORY.format(key=zlib.crc32(frames[0].y.tobytes()), table=table.hex())


def test_a_memorised_clip_is_overfitted_where_the_development_clips_alone_would_adopt_it(
    course: Course, tmp_path: Path
) -> None:
    cheat = memorising(course)
    refused = review_source(cheat, default_policy()).findings
    assert {finding.rule for finding in refused} == {GateRule.LITERAL}
    trusting = bench_of(course, tmp_path / "trusting", gate=False)
    assert DecideNodes(trusting.services).judge(trusting.measured("c0001", cheat)) == {
        "outcome": "adopt"
    }
    assert trusting.verdict("c0001").rule == "first_under_adopt"

    charged = course.score(cheat, charge=default_stage_settings().charge)
    assert charged.charged_program_bytes > 0
    assert charged.bitrate_mbps > 100  # it pays for its memory, by default

    first_of_all = bench_of(course, tmp_path / "first", gate=True)
    assert DecideNodes(first_of_all.services).judge(first_of_all.measured("c0001", cheat)) == {
        "outcome": "rejected"
    }
    assert first_of_all.verdict("c0001").rule == "overfitted"
    assert "at most 15 % more are allowed" in first_of_all.verdict("c0001").reason

    # Previous-sample prediction promises little of other motion, and a single clip promises less:
    # here the gain alone has to stop the cheat.
    gated = bench_of(course, tmp_path / "gated", gate=True, excess=1000.0)
    nodes = DecideNodes(gated.services)
    first = gated.measured("c0001", HONEST)
    assert nodes.judge(first)["outcome"] == "adopt"
    assert nodes.adopt(first)["outcome"] == "adopted"
    second = gated.measured("c0002", cheat)
    assert nodes.judge(second)["outcome"] == "rejected"

    verdict, result = gated.verdict("c0002"), gated.held_out("c0002").result
    assert verdict.rule == "overfitted"
    assert not result.passed
    assert result.development_gain_percent > 80
    assert result.held_out_gain_percent is not None
    assert result.held_out_gain_percent < 1
    assert f"{result.held_out_gain_percent:+.2f}" in verdict.reason
    assert f"{result.development_gain_percent:+.2f}" in verdict.reason
    assert gated.services.archive.select_parent().candidate_id == "c0001"


def test_a_memorised_clip_does_not_get_past_the_limit_on_a_programs_size(course: Course) -> None:
    cheat = memorising(course)
    small = default_policy(max_program_bytes=len(cheat.encode()) - 1)
    assert not review_source(cheat, small).accepted
    assert review_source(HONEST, small).accepted


def test_an_honest_gain_passes_the_gate_that_stops_the_cheat(
    course: Course, tmp_path: Path
) -> None:
    bench = bench_of(course, tmp_path, gate=True)
    nodes = DecideNodes(bench.services)
    first = bench.measured("c0001", PLAIN)
    nodes.judge(first)
    nodes.adopt(first)
    second = bench.measured("c0002", edited(PLAIN, ('"none"  #', '"left"  #')))
    assert nodes.judge(second)["outcome"] == "adopt"
    result = bench.held_out("c0002").result
    assert result.passed
    assert result.held_out_gain_percent is not None
    assert result.held_out_gain_percent > 0.5 * result.development_gain_percent
    assert result.clips == 2  # they left no doubt
    assert "held on held-out clips" in bench.verdict("c0002").reason


def test_a_gain_that_is_left_open_is_measured_on_more_clips(course: Course, tmp_path: Path) -> None:
    def result_of(keep: float) -> HeldOutResult:
        bench = bench_of(course, tmp_path / f"{keep}", gate=True, keep=keep)
        nodes = DecideNodes(bench.services)
        first = bench.measured("c0001", PLAIN)
        nodes.judge(first)
        nodes.adopt(first)
        nodes.judge(bench.measured("c0002", edited(PLAIN, ('"none"  #', '"left"  #'))))
        # Once for each candidate, however often clips were drawn and whoever else ran on them.
        assert bench.gates_begun() == ["c0001", "c0002"]
        return bench.held_out("c0002").result

    clear = result_of(0.01)
    assert clear.clips == 2
    assert clear.held_out_gain_percent is not None
    doubtful = result_of(clear.held_out_gain_percent / clear.development_gain_percent)
    assert doubtful.clips in {4, 5}  # two at a time, five at most
    assert doubtful.seed_sha256 == clear.seed_sha256
    assert doubtful.held_out_gain_percent != clear.held_out_gain_percent
