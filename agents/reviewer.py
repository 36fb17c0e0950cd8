"""The reviewer: the static gate always; a language model may only add objections."""

from dataclasses import dataclass
from typing import Protocol

from agents.coder import describe_plan
from agents.opinions import findings_from
from agents.requests import ReviewRequest
from agents.templates import Prompts, fenced
from evocodec.domain.candidate import Review
from evocodec.domain.errors import CandidateFailure
from evocodec.domain.vocabulary import CallOutcome, ModelRole, ReviewerName
from evocodec.models.contract import ChatGateway
from evocodec.sandbox.review.analysis import Analyser

_PROGRAM_LIMIT = 120_000


class Reviewer(Protocol):
    """Decides whether a program may run."""

    def review(self, request: ReviewRequest) -> Review:
        """Return the findings; none means that it may run."""


@dataclass(frozen=True, slots=True)
class StaticReviewer:
    """The static gate: reads the program, never runs it."""

    analyser: Analyser

    def review(self, request: ReviewRequest) -> Review:
        """Apply the policy to the program's syntax tree."""
        return self.analyser.analyse(request.program).review


@dataclass(frozen=True, slots=True)
class ModelReviewer:
    """The static gate first; a language model on top, which can refuse but never permit.

    An answer that cannot be read counts as no opinion: it neither blocks nor grants.
    """

    static: StaticReviewer
    gateway: ChatGateway
    prompts: Prompts

    def review(self, request: ReviewRequest) -> Review:
        """Ask the model only about programs that the static gate lets through."""
        verdict = self.static.review(request)
        if not verdict.accepted:
            return verdict
        prompt = self.prompts.render(
            "reviewer",
            plan=fenced(describe_plan(request.plan)),
            program=fenced(request.program.text, limit=_PROGRAM_LIMIT, language="python"),
        )
        try:
            reply = self.gateway.chat(
                ModelRole.REVIEWER,
                prompt.messages,
                candidate_id=request.candidate_id,
                attempt=request.attempt,
                template_sha256=prompt.template_sha256,
                classify=_outcome,
            )
        except CandidateFailure:
            return verdict
        findings = findings_from(reply.text) if reply.outcome is CallOutcome.OK else None
        return verdict if findings is None else Review(findings, ReviewerName.MODEL)


def _outcome(text: str) -> CallOutcome:
    return CallOutcome.UNPARSABLE if findings_from(text) is None else CallOutcome.OK
