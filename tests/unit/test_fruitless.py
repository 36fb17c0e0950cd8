"""When a run with a model comes to nothing again and again."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import FailureKind
from evocodec.domain.events import AttemptFailed, CandidateClosed, Event, ModelCalled, RunStarted
from evocodec.domain.results import Stage
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.search.fruitless import FruitlessRow
from tests.support.sample_events import one_of_each_kind

AT = "2026-01-01T00:00:00+00:00"


def failed(number: int, kind: FailureKind) -> Iterator[Event]:
    name = f"c{number:04d}"
    yield AttemptFailed(
        run_id="r",
        at=AT,
        candidate_id=name,
        attempt=0,
        stage=Stage.REVIEW,
        failure=kind,
        message="m",
    )
    yield closed(number, CandidateStatus.TEST_FAILED)


def closed(number: int, status: CandidateStatus) -> CandidateClosed:
    return CandidateClosed(
        run_id="r",
        at=AT,
        candidate_id=f"c{number:04d}",
        status=status,
        reason="",
        experiment_id="e",
    )


def why(limit: int, *events: Event) -> str:
    row = FruitlessRow(limit)
    for event in events:
        row.observe(event)
    return row.why()


NO_CODE, DUPLICATE = FailureKind.NO_CODE, FailureKind.DUPLICATE


@pytest.mark.parametrize(
    ("kinds", "stops"),
    [
        ([NO_CODE] * 3, True),
        ([NO_CODE] * 2, False),
        ([DUPLICATE, NO_CODE, NO_CODE, NO_CODE], True),
        ([NO_CODE, NO_CODE, DUPLICATE, NO_CODE], False),
    ],
)
def test_failures_of_one_cause_that_follow_each_other_are_counted(
    kinds: list[FailureKind], stops: bool
) -> None:
    events = [event for n, kind in enumerate(kinds) for event in failed(n, kind)]
    assert bool(why(3, *events)) is stops
    assert why(0, *events) == ""


def test_a_candidate_that_was_measured_ends_the_row() -> None:
    bad = [event for number in range(2) for event in failed(number, NO_CODE)]
    good = closed(7, CandidateStatus.REJECTED)
    assert why(3, *bad, good, *failed(8, NO_CODE)) == ""


CALL = next(event for event in one_of_each_kind() if isinstance(event, ModelCalled))
START = next(event for event in one_of_each_kind() if isinstance(event, RunStarted))


def test_identical_replies_are_counted_and_another_one_ends_the_row() -> None:
    same = replace(CALL, role=ModelRole.CODER, outcome=CallOutcome.OK)
    other = replace(same, reply_sha256="ff")
    assert "the same reply 3 times in a row" in why(3, same, same, same)
    assert why(3, same, same, other, same) == ""


def test_a_run_that_is_resumed_begins_to_count_again() -> None:
    bad = [event for number in range(3) for event in failed(number, NO_CODE)]
    assert why(3, *bad)
    assert why(3, *bad, START) == ""
