"""Runs with a model behind real HTTP: whatever it says ends in the right record."""

import itertools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from evocodec.app.model_talk import calls_of
from evocodec.app.runs import perform_run
from evocodec.cli.render.run_summary import EXIT_OF_OUTCOME
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import FailureKind
from evocodec.domain.events import Event, ModelCalled
from evocodec.domain.vocabulary import ModelRole, RunOutcome
from evocodec.views.run import RunView
from tests.support import scripted_model as scripted
from tests.support.toy_laboratory import TOY, local_laboratory

TOY_SOURCE = TOY.read_text()
BETTER = TOY_SOURCE.replace('PREDICTION = "none"', 'PREDICTION = "left"')
PLAN = '{"hypothesis": "Neighbours are alike.", "steps": ["predict from the left"]}'


def with_encode(body: str) -> str:
    """The toy, its encoder's first line replaced."""
    return TOY_SOURCE.replace("    step = step_of(qp)\n    yield", f"    {body}\n    yield", 1)


def by_role(
    coder: Sequence[scripted.Behaviour | str], planner: scripted.Behaviour | str = PLAN
) -> scripted.Behaviour:
    """One behaviour that answers planners always alike and coders in order, the last repeating."""
    left, lock = list(coder), threading.Lock()

    def behave(handler: Any, asked: scripted.Asked) -> None:
        is_planner = "You plan the next experiment" in asked.prompt
        answer = planner
        if not is_planner:
            with lock:
                answer = left.pop(0) if len(left) > 1 else left[0]
        action = answer if callable(answer) else scripted.says(answer)
        action(handler, asked)

    return behave


def run_with(
    endpoint: scripted.Endpoint,
    workspace: Path,
    *,
    candidates: int,
    resume: str | None = None,
    listeners: Sequence[Callable[[Event], None]] = (),
    **changes: Any,
) -> tuple[RunView, tuple[ModelCalled, ...]]:
    options: dict[str, Any] = {
        "model__base_url": endpoint.base_url,
        "model__model": "scripted",
        "model__model_review": False,
        "model__timeout_seconds": 5.0,
        "model__gone_after_seconds": 8.0,
        "model__max_retries": 1,
        "run__candidates": candidates,
        "run__slots": 1,
        "run__ahead": 0,
        "run__max_repairs": 0,
        "run__max_revisions": 0,
        "sandbox__wall_seconds": 4.0,
    }
    with local_laboratory(workspace, **(options | changes)) as lab:
        view = perform_run(lab, resume=resume, listeners=listeners)
        calls = [event for _, event in lab.resolver.events() if isinstance(event, ModelCalled)]
    return view, tuple(calls)


BAD_PROGRAMS: list[tuple[str, scripted.Behaviour | str, FailureKind]] = [
    (
        "returns empty bytes",
        scripted.code(TOY_SOURCE.replace("        yield packet\n", '        yield b""\n')),
        FailureKind.EXCEPTION,
    ),
    ("sleeps for ever", scripted.code(with_encode("while True: pass")), FailureKind.TIMEOUT),
    ("raises", scripted.code(with_encode('raise ValueError("no")')), FailureKind.EXCEPTION),
    (
        "reads a file",
        scripted.code(with_encode('open("/etc/passwd").read()')),
        FailureKind.REVIEW,
    ),
    (
        "returns wrong shapes",
        scripted.code(TOY_SOURCE.replace("yield Frame(*planes)", "yield Frame(*planes[::-1])")),
        FailureKind.BAD_OUTPUT,
    ),
    (
        "drops a frame",
        scripted.code(
            TOY_SOURCE.replace("for packet in packets:", "for packet in list(packets)[1:]:")
        ),
        FailureKind.BAD_OUTPUT,
    ),
    ("broken code", scripted.code("def encode(:\n  pass"), FailureKind.NO_CODE),
    ("prose", "I would use a wavelet transform, which compacts energy.", FailureKind.NO_CODE),
    ("refusal", scripted.refusal(), FailureKind.NO_CODE),
    ("empty reply", scripted.empty(), FailureKind.NO_CODE),
    ("context overflow", scripted.context_overflow(), FailureKind.NO_CODE),
    ("the parent again", scripted.code(TOY_SOURCE + "\n# a remark\n"), FailureKind.DUPLICATE),
    (
        "imports a codec",
        scripted.code("import cv2\nx = cv2.imencode\n" + BETTER),
        FailureKind.REVIEW,
    ),
]


@pytest.fixture(scope="module")
def bad_run(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    """One run in which the model writes one bad program after the other, and then a good one."""
    replies = [reply for _, reply, _ in BAD_PROGRAMS] + [scripted.code(BETTER)]
    with scripted.scripted_endpoint([by_role(replies)]) as endpoint:
        view, _ = run_with(
            endpoint, tmp_path_factory.mktemp("bad") / "w", candidates=len(replies) + 1
        )
    return view


@pytest.mark.parametrize(
    ("number", "kind"),
    [(2 + index, kind) for index, (_, _, kind) in enumerate(BAD_PROGRAMS)],
    ids=[name for name, _, _ in BAD_PROGRAMS],
)
def test_a_bad_program_is_recorded_for_what_it_is_without_metrics(
    bad_run: RunView, number: int, kind: FailureKind
) -> None:
    candidate = bad_run.candidates[number - 1]
    assert candidate.status is CandidateStatus.TEST_FAILED
    assert candidate.failure
    assert candidate.failure.kind == kind, candidate.failure
    assert candidate.score is None
    assert candidate.screen is None
    assert candidate.adoption is None
    assert kind.value in candidate.reason


def test_a_good_program_after_many_bad_ones_is_adopted(bad_run: RunView) -> None:
    last = bad_run.candidates[-1]
    assert last.status is CandidateStatus.ADOPTED, last.reason
    assert last.hypothesis == "Neighbours are alike."
    assert bad_run.outcome == "finished"


def test_the_coder_is_told_the_real_error_and_may_repair(tmp_path: Path) -> None:
    broken = scripted.code(with_encode('raise ValueError("step is missing")'))
    unsafe = scripted.code("import os\n" + BETTER)
    replies = [unsafe, broken, scripted.code(BETTER)]
    with scripted.scripted_endpoint([by_role(replies)]) as endpoint:
        view, calls = run_with(
            endpoint, tmp_path / "w", candidates=2, run__max_repairs=1, run__max_revisions=1
        )
    repaired = view.candidates[1]
    assert repaired.status is CandidateStatus.ADOPTED, repaired.reason
    assert [attempt.failure.kind if attempt.failure else "" for attempt in repaired.attempts] == [
        FailureKind.REVIEW,
        FailureKind.EXCEPTION,
        "",
    ]
    prompts = [asked.prompt for asked in endpoint.requests]
    assert any("import of os" in p or "os" in p.split("Findings")[-1] for p in prompts[2:3])
    assert "step is missing" in prompts[3]
    assert [call.outcome for call in calls if call.candidate_id] == ["ok"] * 4


def test_a_run_stops_when_the_endpoint_is_gone_and_resumes_when_it_is_back(
    tmp_path: Path,
) -> None:
    replies = [scripted.code(BETTER), scripted.drops()]
    with scripted.scripted_endpoint([by_role(replies)]) as endpoint:
        stopped, _ = run_with(endpoint, tmp_path / "w", candidates=3)
    assert stopped.outcome == "endpoint_gone"
    assert endpoint.base_url.split("/v1")[0] in stopped.message or "model" in stopped.message
    assert [c.status for c in stopped.candidates] == [
        CandidateStatus.ADOPTED,
        CandidateStatus.ADOPTED,
        CandidateStatus.RUNNING,
    ]
    third = BETTER.replace('"left"\n', '"previous"\n').replace('= "left"', '= "previous"')
    with scripted.scripted_endpoint([by_role([scripted.code(third)])]) as endpoint:
        resumed, calls = run_with(endpoint, tmp_path / "w", candidates=3, resume="latest")
        asked = len(endpoint.requests)
    assert resumed.run_id == stopped.run_id
    assert resumed.outcome == "finished"
    assert all(not candidate.running for candidate in resumed.candidates)
    assert len(resumed.candidates) == 3
    # The plan was recorded before the endpoint went away: only the code was asked for again.
    assert asked == 1
    assert [call.role for call in calls if call.candidate_id == "c0003"].count(
        ModelRole.PLANNER
    ) == 1


def test_a_recorded_run_is_replayed_without_an_endpoint(tmp_path: Path) -> None:
    replies: list[scripted.Behaviour | str] = [scripted.code(BETTER), "only prose"]
    with scripted.scripted_endpoint([by_role(replies)]) as endpoint:
        first, _ = run_with(endpoint, tmp_path / "w", candidates=3)
        asked = len(endpoint.requests)
        again, calls = run_with(
            endpoint, tmp_path / "w", candidates=3, run__replay=first.run_id, model__model=""
        )
        assert len(endpoint.requests) == asked
    assert again.proposer == "replay"
    assert again.run_id != first.run_id
    assert {call.tries for call in calls} == {0}
    # The version of the first run opens the second, so the replayed program is known already.
    kinds = [c.failure.kind if c.failure else "" for c in again.candidates]
    assert kinds[-1] == FailureKind.NO_CODE
    assert [c.hypothesis for c in again.candidates][-1] == "Neighbours are alike."


def test_a_token_budget_stops_the_run(tmp_path: Path) -> None:
    with scripted.scripted_endpoint([by_role([scripted.code(BETTER)])]) as endpoint:
        view, calls = run_with(
            endpoint,
            tmp_path / "w",
            candidates=5,
            model__budget_tokens=12_000,
            model__max_tokens=1000,
        )
    assert view.outcome == "budget"
    assert calls
    assert len(view.candidates) < 5


def test_a_model_that_is_of_no_use_stops_the_run_with_one_sentence_and_it_can_be_resumed(
    tmp_path: Path,
) -> None:
    with scripted.scripted_endpoint([by_role([scripted.code(BETTER)], "")]) as endpoint:
        view, calls = run_with(endpoint, tmp_path / "w", candidates=40, run__failures_in_a_row=3)
    assert view.outcome is RunOutcome.NO_PROGRESS
    assert (
        "3 candidates in a row failed with one cause, no_code: The planner gave no" in view.message
    )
    assert "run.failures_in_a_row" in view.message
    assert len(view.candidates) == 4
    assert len([call for call in calls if call.candidate_id]) == 6  # three were asked twice
    assert EXIT_OF_OUTCOME[view.outcome] == 3
    with scripted.scripted_endpoint([by_role([scripted.code(BETTER)])]) as endpoint:
        resumed, _ = run_with(endpoint, tmp_path / "w", candidates=5, resume="latest")
    assert resumed.outcome is RunOutcome.FINISHED, resumed.message
    assert resumed.candidates[-1].score is not None


def test_a_coder_that_says_the_same_again_is_not_asked_a_third_time(tmp_path: Path) -> None:
    with scripted.scripted_endpoint([by_role(["Use wavelets."])]) as endpoint:
        view, calls = run_with(endpoint, tmp_path / "w", candidates=2, run__max_repairs=5)
    assert view.candidates[1].status is CandidateStatus.TEST_FAILED
    assert [call.role for call in calls].count(ModelRole.CODER) == 2
    with local_laboratory(tmp_path / "w") as lab:
        told = calls_of(lab, view.run_id, "c0002")
    planner, first, second = told
    assert (planner.role, planner.reply) == (ModelRole.PLANNER, PLAN)
    assert first.reply == second.reply == "Use wavelets."
    assert "Neighbours are alike." in first.messages[1][1]
    assert second.messages[2] == ("assistant", "Use wavelets.")


def test_a_rate_limit_is_waited_out(tmp_path: Path) -> None:
    limited = [scripted.fails(429, Retry_After="1"), scripted.code(BETTER)]
    with scripted.scripted_endpoint([by_role(limited)]) as endpoint:
        view, _ = run_with(endpoint, tmp_path / "w", candidates=2)
    assert view.candidates[1].status is CandidateStatus.ADOPTED
    waits = [b.at - a.at for a, b in itertools.pairwise(endpoint.requests[1:])]
    assert max(waits) >= 1.0
