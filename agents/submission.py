"""Submission: a program from outside, by a person or any coding agent, without planner or coder."""

from dataclasses import dataclass

from agents.coder import Coder
from agents.judge import RuleJudge
from agents.planner import Planner
from agents.requests import CodeReply, CodeRequest, PlanRequest
from agents.reviewer import StaticReviewer
from agents.team import Team
from evocodec.codec.program import Program
from evocodec.domain.candidate import Origin, Plan
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.vocabulary import Proposer
from evocodec.rules.adoption import Thresholds
from evocodec.sandbox.review.analysis import Analyser


@dataclass(frozen=True, slots=True)
class Submission(Planner, Coder):
    """A finished program and its author's note; it takes the place of planner and coder."""

    program: Program
    note: str

    def plan(self, request: PlanRequest) -> Plan:
        """Return the author's note as the hypothesis."""
        return Plan(self.note, origin=Origin.SUBMITTED)

    def write(self, request: CodeRequest) -> CodeReply:
        """Return the program; a second attempt is the author's, as another submission."""
        if request.feedback is not None:
            raise CandidateFailure(FailureKind.NO_CODE, "repair it and submit it again")
        return CodeReply(self.program, "submitted")


def submission_team(submission: Submission, *, analyser: Analyser, thresholds: Thresholds) -> Team:
    """Return the team for one submission: the same gates and the same rules as for any other."""
    return Team(
        planner=submission,
        coder=submission,
        reviewer=StaticReviewer(analyser),
        judge=RuleJudge(thresholds),
        proposer=Proposer.SUBMISSION,
    )
