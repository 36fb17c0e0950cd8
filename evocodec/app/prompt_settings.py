"""Settings of the prompt templates."""

from agents.templates import Prompts
from evocodec.app.engine import make_limits, make_policy
from evocodec.app.stage_settings import thresholds
from evocodec.config import Settings
from evocodec.sandbox.policy import available_imports


def make_prompts(settings: Settings) -> Prompts:
    """Prompt templates with the limits that hold here."""
    policy = make_policy(settings)
    return Prompts(
        imports=tuple(sorted(available_imports(policy))),
        limits=make_limits(settings),
        policy=policy,
        screen_keep_below=settings.evaluation.screen_keep_below,
        thresholds=thresholds(settings),
    )
