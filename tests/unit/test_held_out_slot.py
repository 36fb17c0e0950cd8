"""The held-out check and the evaluation slots."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from evocodec.domain.candidate import Verdict
from evocodec.domain.vocabulary import VerdictRule
from evocodec.evaluation.held_out import HeldOutSample
from graph.held_out_gate import HeldOutGate, Incumbent
from graph.services import HeldOutConfig
from graph.state import CandidateState
from tests.support.default_options import default_thresholds
from tests.support.graph_services import journal_and_search, judging_services


class DrawnError(Exception):
    """The check has begun."""


def draw(name: str, again: int) -> HeldOutSample:
    raise DrawnError


def test_a_held_out_check_waits_for_no_evaluation_of_another_candidate(tmp_path: Path) -> None:
    journal, search = journal_and_search()
    config = HeldOutConfig(draw, cast(Any, None))
    services = judging_services(tmp_path, journal, search, default_thresholds(), held_out=config)
    services.slots.acquire()
    verdict = Verdict(True, VerdictRule.FIRST_CHANCE, "", compared_with="HEVC")
    state: CandidateState = {"candidate_id": "c0001", "attempt": 0}
    given_up = threading.Timer(5, services.stop.set)
    given_up.start()
    with pytest.raises(DrawnError):
        HeldOutGate(services, config).ask(state, verdict, cast(Any, None), Incumbent("c0000", 1.0))
    given_up.cancel()
