"""The planner: reads what was tried, forms one hypothesis, and says what to change."""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from agents.asking import RoleQuestion, ask
from agents.opinions import Unreadable, plan_from
from agents.requests import HISTORY_LENGTH, HistoryItem, PlanRequest
from agents.templates import Prompts, fenced
from evocodec.codec.program import Program
from evocodec.domain.candidate import Plan
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.vocabulary import ModelRole
from evocodec.models.contract import ChatGateway
from evocodec.search.archive import Archive
from evocodec.search.mutation import MutationProposer

_FORM = '{"hypothesis": "what is changed, and why it saves bits", "steps": ["first change", "…"]}'
_PARENT_LIMIT = 120_000  # characters of a parent program that a planner is shown


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
        parent = request.parent.program
        prompt = self.prompts.render(
            "planner",
            champion=fenced(request.champion, limit=2000),
            parent_id=request.parent.candidate_id,
            parent_bitrate=_bitrate(request.parent.bitrate_mbps),
            parent_program=fenced(
                request.parent.program.text, limit=_PARENT_LIMIT, language="python"
            ),
            tunables=describe_tunables(parent),
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


def describe_history(history: tuple[HistoryItem, ...]) -> str:
    """The past experiments as a fenced list, newest last; hypotheses are untrusted text."""
    if not history:
        return "Nothing has been tried yet."
    lines = [_describe(item) for item in history[-HISTORY_LENGTH:]]
    return fenced("\n".join(lines), limit=24_000)


def _describe(item: HistoryItem) -> str:
    outcome = item.status + (f" ({item.failure})" if item.failure else "")
    facts = [f"{item.candidate_id}: {outcome}"]
    if item.bitrate_mbps is not None:
        facts.append(f"{item.bitrate_mbps:.2f} Mbit/s")
    elif item.estimated_bitrate_mbps is not None:
        facts.append(f"about {item.estimated_bitrate_mbps:.2f} Mbit/s by the screen")
    if item.improvement_percent is not None:
        facts.append(f"{item.improvement_percent:+.1f} % against the champion of its time")
    lines = [", ".join(facts), f"  hypothesis: {_flat(item.hypothesis, 400)}"]
    if item.edits:
        lines.append("  edits: " + ", ".join(f"{name} = {value}" for name, value in item.edits))
    if item.reason:
        lines.append(f"  ended: {_flat(item.reason, 400)}")
    return "\n".join(lines)


def describe_tunables(program: Program) -> str:
    """Return the tunables of a program as text for a prompt."""
    tunables = program.readable_tunables
    if not tunables:
        return "The parent has no marked constants."
    return "\n".join(
        f"- `{tunable.name} = {tunable.value}` (allowed: {tunable.allowed()})"
        + (f": {tunable.description}" if tunable.description else "")
        for tunable in tunables
    )


def _bitrate(bitrate_mbps: float | None) -> str:
    return "not measured" if bitrate_mbps is None else f"{bitrate_mbps:.3f} Mbit/s"


def _flat(text: str, limit: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[:limit] + "…"
