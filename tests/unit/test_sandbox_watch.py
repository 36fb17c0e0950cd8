"""Time that a program is charged for: its own, not the machine's."""

import pytest

from evocodec.sandbox.watch import Glance, ProgramClock


def glance(cpu_seconds: float, *, asleep: bool) -> Glance:
    return Glance(0, 0, 1, cpu_seconds, asleep)


def charged(step_seconds: float, glances: list[Glance | None], *, serving: float = 0.0) -> float:
    clock = ProgramClock(0.0)
    clock.advance(0.0, glances[0], serving_seconds=0.0)
    for number, each in enumerate(glances[1:], 1):
        clock.advance(number * step_seconds, each, serving_seconds=serving)
    return clock.seconds


@pytest.mark.parametrize("asleep", [True, False])
def test_a_program_that_computes_or_sleeps_pays_for_all_the_time(asleep: bool) -> None:
    cpu = 0.0 if asleep else 0.1
    looks = [glance(number * cpu, asleep=asleep) for number in range(11)]
    assert charged(0.1, [*looks]) == pytest.approx(1.0)


def test_time_in_which_the_machine_did_not_run_a_ready_program_is_free() -> None:
    assert charged(0.1, [glance(number * 0.01, asleep=False) for number in range(11)]) < 0.11


def test_time_in_which_the_supervisor_did_not_run_is_free() -> None:
    assert charged(3600.0, [glance(1.0, asleep=True)] * 2) < 1.0


def test_time_in_which_the_program_waited_for_its_supervisor_is_free() -> None:
    assert charged(0.2, [glance(1.0, asleep=True)] * 11, serving=0.2) < 1e-6


def test_threads_cannot_make_time_pass_faster_than_the_clock() -> None:
    assert charged(0.1, [glance(number * 0.4, asleep=False) for number in range(11)]) == (
        pytest.approx(1.0)
    )
