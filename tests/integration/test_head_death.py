"""Cost of a Ray head that dies: why the connection to it has a process of its own."""

import sys
from pathlib import Path

import pytest

from tests.support.head_death import CANDIDATES, measure_head_death

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")


def test_a_head_that_dies_costs_no_call_of_a_model_and_no_restart(tmp_path: Path) -> None:
    cost = measure_head_death("driver", tmp_path / "w")
    assert (cost.calls_lost, cost.starts) == (0, 1), cost
    assert (cost.closed, cost.outcome) == (CANDIDATES, "finished"), cost


def test_a_controller_that_ends_with_its_head_loses_what_the_model_was_asked(
    tmp_path: Path,
) -> None:
    # The simpler way. Where this fails, the driver process has no reason to be any more.
    cost = measure_head_death("exit", tmp_path / "w")
    assert cost.calls_lost >= 1, cost
    assert cost.starts >= 2, cost
    assert (cost.closed, cost.outcome) == (CANDIDATES, "finished"), cost
