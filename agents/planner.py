"""The planner: reads what was tried, forms one hypothesis, and says what to change."""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from agents.asking import RoleQuestion, ask
from agents.facts import (
    describe_bitrate,
    describe_history,
    describe_in_flight,
    describe_last_adoption,
    describe_measured,
    describe_past,
)
from agents.opinions import MAX_STEP_TEXT, MAX_STEPS, MAX_TEXT, Unreadable, plan_from
from agents.outline import outline
from agents.requests import PlanRequest
from agents.templates import Prompts, fenced
from evocodec.domain.candidate import Plan
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.vocabulary import ModelRole
from evocodec.models.contract import ChatGateway
from evocodec.search.archive import Archive
from evocodec.search.mutation import MutationProposer

_FORM = '{"hypothesis": "what is changed, and why it saves bits", "steps": ["first change", "…"]}'
_OUTLINE_LIMIT = 30_000  # characters of a parent's outline that a planner is shown


class Planner(Protocol):
    """Makes one plan from the history."""

    def plan(self, request: PlanRequest) -> Plan:
        """Return a plan; raises CandidateFailure (NO_CODE) when no plan can be made."""
        ...

    def turn(self) -> AbstractContextManager[object]:
        """Lock held from planning until the plan is recorded, for a planner that must be alone."""
        return nullcontext()


@dataclass(frozen=True, slots=True)
class MutationPlanner:
    """Plans by the built-in proposer: edits of tunables, without a language model."""

    proposer: MutationProposer
    archive: Archive
    # Two candidates that plan at once would be given the same edits: the second has to see the
    # first one's recorded plan.
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, request: PlanRequest) -> Plan:
        """Propose edits of the parent that no other candidate in flight has."""
        return self.proposer.propose(
            self.archive,
            candidate_id=request.candidate_id,
            number=request.number,
            parent_id=request.parent.candidate_id,
            parent=request.parent.program,
        )

    def turn(self) -> AbstractContextManager[object]:
        """See Planner."""
        return self._turn


@dataclass(frozen=True, slots=True)
class ModelPlanner:
    """Plans by a language model."""

    gateway: ChatGateway
    prompts: Prompts

    def plan(self, request: PlanRequest) -> Plan:
        """Ask for a hypothesis and steps; raises CandidateFailure (NO_CODE) without both."""
        prompt = self.prompts.render(
            "planner",
            hypothesis_limit=str(MAX_TEXT),
            steps_limit=str(MAX_STEPS),
            step_limit=str(MAX_STEP_TEXT),
            champion=fenced(request.champion, limit=2000),
            parent_id=request.parent.candidate_id,
            parent_bitrate=describe_bitrate(request.parent.bitrate_mbps),
            parent_program=fenced(
                outline(request.parent.program.text), limit=_OUTLINE_LIMIT, language="python"
            ),
            measured=describe_measured(
                request.measured, wall_seconds=self.prompts.limits.wall_seconds
            ),
            last_adoption=describe_last_adoption(request.past),
            in_flight=describe_in_flight(request.past),
            earlier=describe_past(request.past),
            history=describe_history(request.history),
            number=str(request.number),
        )
        opinion = ask(
            self.gateway,
            self.prompts,
            RoleQuestion(ModelRole.PLANNER, prompt, plan_from, _FORM),
            candidate_id=request.candidate_id,
            attempt=0,
        )
        if isinstance(opinion, Unreadable):
            raise CandidateFailure(
                FailureKind.NO_CODE,
                f"The planner gave no plan, asked twice. Of its last reply: {opinion.why}.",
            )
        return Plan(opinion.hypothesis, opinion.steps, origin=self.gateway.origin)

    def turn(self) -> AbstractContextManager[object]:
        """See Planner; several models may plan at the same time."""
        return nullcontext()
