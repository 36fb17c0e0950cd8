"""The held-out stage on a simulated engine: few rates, each once, at the operating quality."""

import pytest

from evocodec.codec.program import Program, derive_facts
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Stage
from evocodec.evaluation.held_out import HeldOutClip
from evocodec.rules.program_charge import ChargeMode, ProgramCharge
from tests.unit.test_staged_evaluator import PROGRAM, Bench, SimulatedEngine, anchor, clip, point

HELD = tuple(
    HeldOutClip(clip(name, 48, 32), anchor(name), point(name, 26, 12).quality.psnr_y_db)
    for name in ("held-1", "held-2")
)
AROUND = {"held-1": 26.0, "held-2": 27.0}


def test_three_rates_a_clip_give_the_bits_at_the_operating_quality() -> None:
    bench = Bench(SimulatedEngine(scale=0.8))
    bits = bench.evaluator().held_out("c1", 0, Program(PROGRAM), HELD, AROUND)
    for held in HELD:
        name = held.clip.name
        assert bits[name] == pytest.approx(0.8 * point(name, 26, 12).bits, rel=1e-3)
        asked = [job for _, job in bench.engine.asked if job.clip == name]
        assert [job.qp for job in asked] == [AROUND[name] + step for step in (-4, 0, 4)]
        assert {(job.stage, job.frames) for job in asked} == {(Stage.HELD_OUT, 12)}
        assert set(asked) <= set(bench.engine.verified)
    assert set(bench.kinds()) == {"stage_started", "point_measured"}


def test_rates_are_added_until_the_operating_quality_lies_between_and_no_longer() -> None:
    bench = Bench(SimulatedEngine(shift=12.0))
    bits = bench.evaluator().held_out("c1", 0, Program(PROGRAM), HELD[:1], AROUND)
    assert bits["held-1"] == pytest.approx(point("held-1", 26, 12).bits, rel=1e-3)
    qps = sorted(job.qp for _, job in bench.engine.asked)
    assert qps[0] <= 14.0
    assert len(qps) == 4


def test_an_operating_quality_out_of_reach_is_the_candidates_failure() -> None:
    bench = Bench(SimulatedEngine(shift=60.0))
    with pytest.raises(CandidateFailure, match="never extrapolated") as caught:
        bench.evaluator().held_out("c1", 0, Program(PROGRAM), HELD[:1], AROUND)
    assert caught.value.kind is FailureKind.QUALITY


@pytest.mark.parametrize("survived", range(7))
def test_a_gate_that_was_killed_measures_only_what_has_no_event(survived: int) -> None:
    bench = Bench(SimulatedEngine(die_after=survived))
    if survived < 6:
        with pytest.raises(ZeroDivisionError):
            bench.evaluator().held_out("c1", 0, Program(PROGRAM), HELD, AROUND)
    bench.engine.die_after = 10_000
    bits = bench.evaluator().held_out("c1", 0, Program(PROGRAM), HELD, AROUND)
    assert len(bench.engine.asked) == 6 == len(set(bench.engine.asked))
    again = Bench(SimulatedEngine()).evaluator().held_out("c1", 0, Program(PROGRAM), HELD, AROUND)
    assert bits == again


def test_a_charged_program_weighs_as_much_as_on_the_development_clips() -> None:
    free = Bench(SimulatedEngine()).evaluator().held_out("c1", 0, Program(PROGRAM), HELD, AROUND)
    evaluator = Bench(SimulatedEngine()).evaluator(charge=ProgramCharge(ChargeMode.ALWAYS, 0))
    charged = evaluator.held_out("c1", 0, Program(PROGRAM), HELD, AROUND)
    development = (clip("big", 64, 48), clip("small", 35, 21))
    mean = sum(each.stream.raw_bits for each in development) / 2
    share = HELD[0].clip.stream.raw_bits / mean
    expected = 8 * derive_facts(PROGRAM).packed_bytes * share
    assert charged["held-1"] - free["held-1"] == pytest.approx(expected)
