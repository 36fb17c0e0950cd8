"""The team of a run: proposer, reviewer and judge, from a model, a replay, mutation or a person."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from agents.submission import Submission, submission_team
from agents.team import Team, model_team, mutation_team
from evocodec.app.prompt_settings import make_prompts
from evocodec.app.run_plan import RunPlan
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import Interrupted
from evocodec.domain.events import Event
from evocodec.domain.vocabulary import Proposer
from evocodec.models.gateway import ModelGateway
from evocodec.models.knowledge import Knowledge
from evocodec.models.replay import ReplayGateway, replay_from
from evocodec.rules.adoption import Thresholds
from evocodec.sandbox.review.analysis import Analyser
from evocodec.search.archive import Archive
from evocodec.search.mutation import MutationProposer
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.store.programs import ProgramStore


def proposer_of(plan: RunPlan) -> Proposer:
    """Return the proposer of a run."""
    if plan.submission:
        return Proposer.SUBMISSION
    if plan.settings.run.replay:
        return Proposer.REPLAY
    return Proposer.MODEL if plan.settings.model.configured else Proposer.MUTATION


@dataclass(frozen=True, slots=True)
class TeamBuilder:
    """Builds the team of a run; what must be closed with the run is left with ``closing``."""

    plan: RunPlan
    ledger: Ledger
    blobs: BlobStore
    programs: ProgramStore
    analyser: Analyser
    record: Callable[[Event], object]
    stop: threading.Event
    closing: ExitStack
    thresholds: Thresholds
    knowledge: Knowledge

    def build(self, archive: Archive) -> Team:
        """The team that the plan and its settings ask for."""
        settings = self.plan.settings
        if self.plan.submission:
            given = self.plan.submission
            submitted = Submission(self.programs.get(given.sha256), given.note)
            return submission_team(submitted, analyser=self.analyser, thresholds=self.thresholds)
        if settings.run.replay:
            return self._replay_team()
        if not settings.model.configured:
            return mutation_team(
                proposer=MutationProposer(settings.run.seed),
                archive=archive,
                analyser=self.analyser,
                thresholds=self.thresholds,
            )
        gateway = ModelGateway(
            settings.model,
            run_id=self.plan.run_id,
            ledger=self.ledger,
            blobs=self.blobs,
            record=self.record,
            stop=self.stop,
            interrupted=Interrupted,
            knowledge=self.knowledge,
        )
        self.closing.callback(gateway.close)
        return model_team(
            gateway=gateway,
            prompts=make_prompts(settings),
            analyser=self.analyser,
            thresholds=self.thresholds,
            model_reviews=settings.model.model_review,
            model_judges=settings.model.model_judge,
        )

    def _replay_team(self) -> Team:
        """Recorded replies in place of a model: no endpoint, no cost, the same gates."""
        settings = self.plan.settings
        gateway = ReplayGateway(
            replay_from(self.ledger, self.blobs, settings.run.replay),
            run_id=self.plan.run_id,
            ledger=self.ledger,
            blobs=self.blobs,
            record=self.record,
            now=utc_now,
        )
        return model_team(
            gateway=gateway,
            prompts=make_prompts(settings),
            analyser=self.analyser,
            thresholds=self.thresholds,
            model_reviews=settings.model.model_review,
            model_judges=settings.model.model_judge,
            proposer=Proposer.REPLAY,
        )
