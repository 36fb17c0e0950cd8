"""The brief: the prompt for coders and coding agents that work outside of a run."""

from agents.planner import describe_history, describe_tunables
from agents.requests import HistoryItem
from agents.templates import fenced
from evocodec.app.engine import make_policy
from evocodec.app.laboratory import Laboratory
from evocodec.app.programs import FIRST_PROGRAM, built_in
from evocodec.app.prompt_settings import make_prompts
from evocodec.codec.program import Program
from evocodec.rules.adoption import ChampionFacts
from evocodec.sandbox.review.analysis import analyse_apart
from evocodec.search.archive import Archive
from graph.history import champion_summary, planner_history

_LAST_STEP = """\
Write the whole program into a file and hand it in. It is reviewed, screened and measured against
the version to beat, and adopted by the same rules as any other:

    evocodec eval FILE                    # measure it, nothing is adopted
    evocodec submit FILE --note "why"     # the whole way, adoption included
"""


def write_brief(lab: Laboratory) -> str:
    """The contract, the version to beat, what the newest run tried, and the program to start from.

    As Markdown, for a person or any coding agent.
    """
    settings, champions = lab.settings, lab.champions
    current = champions.current()
    program = champions.program(current.version) if current else Program(built_in(FIRST_PROGRAM))
    program = analyse_apart(program, make_policy(settings)).program
    facts = None
    if current and current.bitrate_mbps is not None and current.compression_ratio is not None:
        facts = ChampionFacts(
            f"v{current.version}", current.bitrate_mbps, current.compression_ratio
        )
    archive = Archive(seed=settings.run.seed)
    history: tuple[HistoryItem, ...] = ()
    if lab.ledger.runs():
        view = lab.resolver.view()
        for _, event in lab.resolver.events(view.run_id):
            archive.observe(event)
        history = planner_history(view, archive, settings.run.history)
    rendered = make_prompts(settings).render(
        "coder", plan="Yours to make.", program=fenced(program.text, limit=10**7, language="python")
    )
    sections = {
        "How it works": rendered.messages[0].content,
        "The version to beat": champion_summary(facts),
        "What was tried, newest last": describe_history(history),
        "Marked constants": describe_tunables(program),
        "How to hand it in": _LAST_STEP,
        "The program to start from": fenced(program.text, limit=10**7, language="python"),
    }
    return "\n".join(f"# {title}\n\n{text.strip()}\n" for title, text in sections.items())
