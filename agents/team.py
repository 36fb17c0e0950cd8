"""Team construction: the four roles, with a model endpoint or with the built-in proposer."""

from dataclasses import dataclass

from agents.coder import Coder, ModelCoder, MutationCoder
from agents.judge import Judge, ModelJudge, RuleJudge
from agents.planner import ModelPlanner, MutationPlanner, Planner
from agents.reviewer import ModelReviewer, Reviewer, StaticReviewer
from agents.templates import Prompts
from evocodec.domain.vocabulary import Proposer
from evocodec.models.contract import ChatGateway
from evocodec.rules.adoption import Thresholds
from evocodec.sandbox.review.analysis import Analyser
from evocodec.search.archive import Archive
from evocodec.search.mutation import MutationProposer

MUTATION_NOTICE = (
    "No model endpoint is configured: the built-in mutation proposer (not a language model) makes "
    "the proposals. To use a model, set EVOCODEC_MODEL__BASE_URL and EVOCODEC_MODEL__MODEL."
)


@dataclass(frozen=True, slots=True)
class Team:
    """The four roles of a run; ``notice`` is one line for the person who started it, or empty."""

    planner: Planner
    coder: Coder
    reviewer: Reviewer
    judge: Judge
    proposer: Proposer
    notice: str = ""


def mutation_team(
    *,
    proposer: MutationProposer,
    archive: Archive,
    analyser: Analyser,
    thresholds: Thresholds,
    notice: str = MUTATION_NOTICE,
) -> Team:
    """Return the team that needs no model, no key and no network."""
    return Team(
        planner=MutationPlanner(proposer, archive),
        coder=MutationCoder(),
        reviewer=StaticReviewer(analyser),
        judge=RuleJudge(thresholds),
        proposer=Proposer.MUTATION,
        notice=notice,
    )


def model_team(
    *,
    gateway: ChatGateway,
    prompts: Prompts,
    analyser: Analyser,
    thresholds: Thresholds,
    model_reviews: bool,
    model_judges: bool,
    proposer: Proposer = Proposer.MODEL,
) -> Team:
    """Return the team that asks a language model; the gates stay rules in either case."""
    static = StaticReviewer(analyser)
    rule = RuleJudge(thresholds)
    return Team(
        planner=ModelPlanner(gateway, prompts),
        coder=ModelCoder(gateway, prompts, analyser),
        reviewer=ModelReviewer(static, gateway, prompts) if model_reviews else static,
        judge=ModelJudge(rule, gateway, prompts) if model_judges else rule,
        proposer=proposer,
    )
