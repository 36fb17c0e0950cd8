"""What a call of a model waits for: shown while it waits, by the display, status and JSON."""

from typing import Any

from evocodec.cli.display.lines import describe
from evocodec.cli.payload.run import run_payload
from evocodec.domain import events as ev
from evocodec.domain.vocabulary import CallOutcome, ModelRole, NoteSubject
from evocodec.views.progress import Progress

AT = "2026-01-02T03:04:05.678+00:00"
OF: dict[str, Any] = {"run_id": "r", "at": AT, "candidate_id": "c0001"}


def noted(subject: NoteSubject, seconds: float, **changes: Any) -> ev.ModelNoted:
    fields = {**OF, "role": ModelRole.CODER, "attempt": 0, "text": "rate limit: slow down"}
    return ev.ModelNoted(**{**fields, **changes}, subject=subject, seconds=seconds)


def called(**changes: Any) -> ev.ModelCalled:
    fields: dict[str, Any] = {
        **OF, "role": ModelRole.CODER, "attempt": 0, "model": "m", "prompt_sha256": "",
        "template_sha256": "", "reply_sha256": "", "outcome": CallOutcome.OK, "prompt_tokens": 5,
        "completion_tokens": 7, "cost_usd": 0.5, "wall_seconds": 1.0,
    }  # fmt: skip
    return ev.ModelCalled(**{**fields, **changes})


def test_a_wait_is_shown_until_something_else_happens() -> None:
    progress = Progress()
    progress.apply(ev.CandidateOpened(**OF, parent_id="", number=1))
    progress.apply(noted(NoteSubject.WAITING, 34.0))
    (step,) = progress.snapshot().steps
    assert step.label == "planning, waits 34 s: rate limit: slow down"
    (row,) = run_payload(progress.view())["in_flight"]
    assert row["waits"] == "waits 34 s: rate limit: slow down"
    progress.apply(called())
    (step,) = progress.snapshot().steps
    assert step.label == "planning"
    assert run_payload(progress.view())["in_flight"][0]["waits"] == ""


def test_a_wait_without_an_end_says_only_why() -> None:
    text = describe(noted(NoteSubject.WAITING, 0.0, text="the budget is promised")).text
    assert text == "coder: waits: the budget is promised"


def test_what_a_preflight_costs_is_the_runs_and_makes_no_candidate() -> None:
    progress = Progress()
    progress.apply(noted(NoteSubject.ENDPOINT, 0.0, candidate_id="", text="m answers"))
    progress.apply(called(candidate_id=""))
    view = progress.view()
    assert view.candidates == ()
    assert (view.model_calls, view.cost_usd) == (1, 0.5)
