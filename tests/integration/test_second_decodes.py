"""Decoders that do not always give the same frames, each through the real stages."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evocodec.codec.program import Program
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import CandidateClosed
from evocodec.domain.results import Score
from evocodec.rules.held_out import UNSTABLE_MESSAGE
from evocodec.sandbox.review.static_review import review_program
from evocodec.views.experiment_record import experiment_record
from graph.decide import DecideNodes
from graph.history import redacted_reason
from tests.support.default_options import default_policy
from tests.support.graph_services import RUN
from tests.support.small_course import FRAMES, HONEST, Course, bench_of, edited, open_course

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

YIELD = "        yield Frame(*planes)\n"
CLOCKED = "__import__('time').perf_counter_ns()"
RANDOM = "int(np.random.default_rng().integers(1 << 30))"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    with open_course(tmp_path_factory.mktemp("second-decodes")) as opened:
        yield opened


def flipping(when: str, seed: str) -> str:
    """The honest codec, whose decoder flips low bits of luma in some cases, others by ``seed``."""
    noise = f"np.random.default_rng({seed}).integers(2, size=planes[0].shape, dtype=np.uint8)"
    flip = f"planes[0] ^= {noise}"
    return edited(
        HONEST,
        ("    for packet in packets:\n", "    for number, packet in enumerate(packets):\n"),
        (
            YIELD,
            f"        if {when}:\n            {flip}\n{YIELD}",
        ),
    )


SOURCES = {
    "clock": CLOCKED,
    "randomness": RANDOM,
    "address": "(id(packet) >> 5) ^ (id(planes) >> 9) ^ (id(stream) >> 12)",
    "memory that nobody wrote": "(np.empty(1 << 12, np.uint8).ctypes.data >> 12)",
}
UNSEEN_SIZE = "(stream.width, stream.height) != (96, 80)"
CASES = {
    "at good quality only": f"step < {2 ** (36 / 9):.4f}",
    "in the last frame only": "number == stream.frame_count - 1",
    "in whole clips only": f"stream.frame_count == {FRAMES}",
    "of the large clip only": "stream.width * stream.height >= 96 * 80",
}


@pytest.mark.parametrize("when", CASES)
def test_a_decoder_that_differs_somewhere_in_the_full_stage_has_no_score(
    course: Course, when: str
) -> None:
    program = flipping(CASES[when], CLOCKED)
    with pytest.raises(CandidateFailure) as caught:
        course.score(program)
    assert caught.value.kind is FailureKind.NONDETERMINISTIC, caught.value


@pytest.mark.parametrize("source", SOURCES)
def test_whatever_makes_a_decoder_differ_it_has_no_score(course: Course, source: str) -> None:
    program = flipping("True", SOURCES[source])
    with pytest.raises(CandidateFailure) as caught:
        course.score(program)
    assert caught.value.kind is FailureKind.NONDETERMINISTIC, caught.value


def test_a_decoder_that_differs_at_sizes_of_no_development_clip_fails_its_smoke_test(
    course: Course,
) -> None:
    with pytest.raises(CandidateFailure) as caught:
        course.evaluator().smoke("c0001", 0, Program(flipping(UNSEEN_SIZE, RANDOM)))
    assert caught.value.kind is FailureKind.NONDETERMINISTIC, caught.value
    course.evaluator().smoke("c0001", 0, Program(HONEST))


def test_every_point_of_an_honest_score_says_that_it_was_verified(course: Course) -> None:
    score: Score = course.score(HONEST)
    points = [point for clip in score.clips for point in clip.curve.points]
    assert len(points) >= 4
    assert all(point.verified for point in points)


def test_a_decoder_that_differs_on_held_out_clips_only_fails_as_nondeterministic(
    course: Course, tmp_path: Path
) -> None:
    held_out_only = flipping(UNSEEN_SIZE, RANDOM)
    assert review_program(Program(held_out_only), default_policy()).accepted
    bench = bench_of(course, tmp_path, gate=True)
    nodes = DecideNodes(bench.services)
    state = bench.measured("c0001", held_out_only)
    assert nodes.judge(state)["outcome"] == "rejected"
    assert bench.verdict("c0001").rule == "nondeterministic"
    assert "twice gave different frames" in bench.verdict("c0001").reason

    nodes.record(state)
    events = [event for _, event in bench.services.journal.ledger.events(RUN)]
    closed = next(event for event in events if isinstance(event, CandidateClosed))
    assert closed.status is CandidateStatus.TEST_FAILED
    evolution = experiment_record(events)["experiments"][0]["evolution"]
    assert evolution["metrics"] == {}
    assert evolution["failure"] is not None
    assert evolution["failure"]["kind"] == "nondeterministic"
    view = bench.view("c0001")
    assert view.failure is not None
    assert redacted_reason(view) == UNSTABLE_MESSAGE
