from graph.routing import (
    LoopBounds,
    after_adopt,
    after_code,
    after_evaluate,
    after_judge,
    after_plan,
    after_review,
)

BOUNDS = LoopBounds(max_revisions=2, max_repairs=1)


def test_a_candidate_without_a_plan_is_rejected() -> None:
    assert after_plan({"outcome": "failed"}) == "reject"
    assert after_plan({"outcome": "planned"}) == "code"


def test_a_refused_program_is_revised_as_often_as_allowed() -> None:
    route = after_review(BOUNDS)
    assert route({"outcome": "refused", "revisions": 1}) == "code"
    assert route({"outcome": "refused", "revisions": 2}) == "code"
    assert route({"outcome": "refused", "revisions": 3}) == "reject"
    assert route({"outcome": "accepted", "revisions": 3}) == "evaluate"


def test_a_failed_program_is_repaired_as_often_as_allowed() -> None:
    for route in (after_code(BOUNDS), after_evaluate(BOUNDS)):
        assert route({"outcome": "failed", "repairs": 1}) == "code"
        assert route({"outcome": "failed", "repairs": 2}) == "reject"


def test_an_attempt_that_began_under_wider_bounds_goes_on_under_narrower_ones() -> None:
    for route in (after_code(BOUNDS), after_evaluate(BOUNDS)):
        assert route({"outcome": "failed", "repairs": 9, "continued": True}) == "code"
    assert after_review(BOUNDS)({"outcome": "refused", "revisions": 9, "continued": True}) == "code"


def test_without_a_coder_that_can_repair_nothing_goes_back() -> None:
    none = LoopBounds(max_revisions=0, max_repairs=0)
    assert after_review(none)({"outcome": "refused", "revisions": 1}) == "reject"
    assert after_evaluate(none)({"outcome": "failed", "repairs": 1}) == "reject"


def test_whatever_was_measured_is_judged() -> None:
    route = after_evaluate(BOUNDS)
    assert route({"outcome": "evaluated"}) == "judge"
    assert route({"outcome": "screened_out"}) == "judge"


def test_an_adoption_that_came_second_is_judged_again() -> None:
    assert after_adopt({"outcome": "stale"}) == "judge"
    assert after_adopt({"outcome": "adopted"}) == "record"
    assert after_judge({"outcome": "adopt"}) == "adopt"
    assert after_judge({"outcome": "rejected"}) == "reject"
