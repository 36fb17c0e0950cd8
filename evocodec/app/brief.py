"""The brief: what a coder is told, for coders that work outside of a run."""

from typing import TYPE_CHECKING

from agents.planner import describe_history, describe_tunables
from agents.requests import HistoryItem
from agents.templates import Prompts, fenced
from evocodec.app.engine import make_policy
from evocodec.app.programs import built_in
from evocodec.config import Settings
from evocodec.rules.adoption import ChampionFacts
from evocodec.sandbox.policy import available_imports
from evocodec.search.archive import Archive, restore
from evocodec.views.run import RunView
from graph.history import champion_summary, planner_history

if TYPE_CHECKING:
    from evocodec.app.laboratory import Laboratory

_LAST_STEP = """\
Write the whole program into a file and hand it in. It is reviewed, screened and measured against
the version to beat, and adopted by the same rules as any other:

    evocodec eval FILE                    # measure it, nothing is adopted
    evocodec submit FILE --note "why"     # the whole way, adoption included
"""


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


def write_brief(laboratory: "Laboratory", view: RunView | None) -> str:
    """The contract, the version to beat, what was tried, and the program to start from."""
    settings = laboratory.settings
    current = laboratory.champions.current()
    source = laboratory.champions.source(current.version) if current else built_in("inter")
    facts = None
    if current and current.bitrate_mbps is not None and current.compression_ratio is not None:
        facts = ChampionFacts(
            f"v{current.version}", current.bitrate_mbps, current.compression_ratio
        )
    archive = Archive()
    history: tuple[HistoryItem, ...] = ()
    if view is not None:
        events = (event for _, event in laboratory.events(view.run_id))
        restore(archive, events, lambda sha256: laboratory.blobs.get(sha256).decode())
        history = planner_history(view, archive, settings.run.history)
    rendered = make_prompts(settings).render(
        "coder", plan="Yours to make.", program=fenced(source, limit=10**7, language="python")
    )
    sections = {
        "How it works": rendered.messages[0].content,
        "The version to beat": champion_summary(facts),
        "What was tried, newest last": describe_history(history),
        "Marked constants": describe_tunables(source),
        "How to hand it in": _LAST_STEP,
        "The program to start from": fenced(source, limit=10**7, language="python"),
    }
    return "\n".join(f"# {title}\n\n{text.strip()}\n" for title, text in sections.items())
