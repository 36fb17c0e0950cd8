"""Settings of the prompt templates."""

from agents.templates import Prompts
from evocodec.app.engine import make_policy
from evocodec.config import Settings
from evocodec.sandbox.policy import available_imports


def make_prompts(settings: Settings) -> Prompts:
    """Prompt templates with the limits that hold here."""
    return Prompts(
        imports=tuple(sorted(available_imports(make_policy(settings)))),
        wall_seconds=settings.sandbox.wall_seconds,
        memory_mebibytes=settings.sandbox.memory_mib,
        max_program_kibibytes=settings.sandbox.max_program_kib,
        screen_keep_below=settings.evaluation.screen_keep_below,
        allow_library_codecs=settings.sandbox.allow_library_codecs,
    )
