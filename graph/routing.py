"""Routing: chooses the next node from the state and the loop limits; pure functions."""

from collections.abc import Callable
from dataclasses import dataclass

from graph.state import CandidateState

Route = Callable[[CandidateState], str]


@dataclass(frozen=True, slots=True)
class LoopBounds:
    """Limits on repairs of a candidate; zero where a coder cannot repair."""

    max_revisions: int
    max_repairs: int


def after_plan(state: CandidateState) -> str:
    """After a plan comes the coder; without a plan the candidate ends."""
    return "code" if state["outcome"] == "planned" else "reject"


def after_code(bounds: LoopBounds) -> Route:
    """After a program comes the review; a reply without a program may be asked for again."""

    def route(state: CandidateState) -> str:
        if state["outcome"] == "coded":
            return "review"
        return "code" if _may_repair(state, bounds) else "reject"

    return route


def after_review(bounds: LoopBounds) -> Route:
    """An accepted program is evaluated; a refused one may be revised."""

    def route(state: CandidateState) -> str:
        if state["outcome"] == "accepted":
            return "evaluate"
        allowed = state.get("revisions", 0) <= bounds.max_revisions and not _is_hopeless(state)
        return "code" if allowed or state.get("continued", False) else "reject"

    return route


def after_evaluate(bounds: LoopBounds) -> Route:
    """A measured program is judged; a failed one may be repaired."""

    def route(state: CandidateState) -> str:
        if state["outcome"] in {"evaluated", "screened_out"}:
            return "judge"
        return "code" if _may_repair(state, bounds) else "reject"

    return route


def after_judge(state: CandidateState) -> str:
    """The verdict decides: adopt, reject, or record."""
    return "adopt" if state["outcome"] == "adopt" else "reject"


def after_adopt(state: CandidateState) -> str:
    """A candidate whose adoption came second is judged again, against the new version."""
    return "judge" if state["outcome"] == "stale" else "record"


def _may_repair(state: CandidateState, bounds: LoopBounds) -> bool:
    allowed = state.get("repairs", 0) <= bounds.max_repairs and not _is_hopeless(state)
    return allowed or state.get("continued", False)


def _is_hopeless(state: CandidateState) -> bool:
    return state.get("hopeless", False)
