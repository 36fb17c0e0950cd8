"""The reviewer: the static gate always; a language model may only add objections."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from agents.asking import RoleQuestion, ask
from agents.coder import describe_plan
from agents.opinions import Unreadable, findings_from
from agents.outline import change
from agents.requests import ReviewRequest
from agents.templates import Prompts, fenced
from evocodec.domain.candidate import Finding, Review
from evocodec.domain.errors import CandidateFailure, EndpointUnavailable
from evocodec.domain.vocabulary import ModelRole, ReviewerName
from evocodec.models.contract import ChatGateway
from evocodec.sandbox.review.analysis import Analyser

_PROGRAM_LIMIT = 120_000
_REVIEWS_WITHOUT = 8  # after one that the endpoint did not answer
_FORM = '{"findings": [{"rule": "inexact_decode", "line": 123, "message": "what is wrong"}]}'


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


def _shown(request: ReviewRequest) -> str:
    """The change and the functions round it, or the whole program where most of it is new."""
    if request.parent is not None:
        changed = change(request.parent.text, request.program.text)
        if changed is not None:
            return f"The change:\n{fenced(changed, limit=_PROGRAM_LIMIT)}"
    whole = fenced(request.program.text, limit=_PROGRAM_LIMIT, language="python")
    return f"The program:\n{whole}"


class _Absence:
    """A reviewer that could not be reached: some reviews go without it, then it is asked again.

    Each call to an endpoint that is gone takes minutes until it is given up.
    """

    def __init__(self) -> None:
        # Candidates that are reviewed at once must not count one review twice.
        self._lock = threading.Lock()
        self._left = 0

    def begins(self) -> None:
        """Note that the endpoint could not be reached."""
        with self._lock:
            self._left = _REVIEWS_WITHOUT

    def is_waited_out(self) -> bool:
        """Whether this review goes without the model; counts it."""
        with self._lock:
            absent = self._left > 0
            self._left -= absent
            return absent


@dataclass(frozen=True, slots=True)
class ModelReviewer:
    """The static gate first; a language model on top, which can refuse but never permit.

    An answer that cannot be read, and an endpoint that cannot be reached, count as no opinion: they
    neither block nor grant. Programs that a run starts from are ours or were adopted: no model is
    asked about them.
    """

    static: StaticReviewer
    gateway: ChatGateway
    prompts: Prompts
    _absence: _Absence = field(default_factory=_Absence, compare=False)

    def review(self, request: ReviewRequest) -> Review:
        """Ask the model only about programs that the static gate lets through."""
        verdict = self.static.review(request)
        if not verdict.accepted or request.is_baseline or self._absence.is_waited_out():
            return verdict
        prompt = self.prompts.render(
            "reviewer",
            plan=fenced(describe_plan(request.plan)),
            program=_shown(request),
        )
        try:
            opinion = ask(
                self.gateway,
                self.prompts,
                RoleQuestion(ModelRole.REVIEWER, prompt, self._reader(request), _FORM),
                candidate_id=request.candidate_id,
                attempt=request.attempt,
            )
        except CandidateFailure:
            return verdict
        except EndpointUnavailable:
            self._absence.begins()
            return verdict
        if isinstance(opinion, Unreadable):
            # Findings beside an empty list, said twice: what is in doubt is not run.
            return Review(opinion.findings, ReviewerName.MODEL) if opinion.findings else verdict
        return Review(opinion, ReviewerName.MODEL)

    def _reader(self, request: ReviewRequest) -> Callable[[str], tuple[Finding, ...] | Unreadable]:
        quotable = f"{request.program.text}\n{describe_plan(request.plan)}\n{_FORM}"
        return lambda text: findings_from(text, quotable)
