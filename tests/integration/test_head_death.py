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
