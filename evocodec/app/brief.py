"""The brief: the prompt for coders and coding agents that work outside of a run."""

from dataclasses import replace

from agents.facts import describe_history, describe_measured, describe_tunables
from agents.requests import HistoryItem, Measured
from agents.templates import describe_adoption, fenced
from evocodec.app.clips import clip_sources
from evocodec.app.engine import make_policy
from evocodec.app.laboratory import Laboratory
from evocodec.app.programs import FIRST_PROGRAM, built_in
from evocodec.app.prompt_settings import make_prompts
from evocodec.codec.program import Program
from evocodec.config import Settings
from evocodec.domain.errors import SourceError
from evocodec.domain.events import AnchorReady, kinds_of
from evocodec.domain.results import RdCurve, Score
from evocodec.rules.adoption import ChampionFacts
from evocodec.sandbox.review.analysis import analyse_apart
from evocodec.search.archive import Archive
from evocodec.video.clip_spec import format_clip
from evocodec.video.test_sets import BUILT_IN
from graph.history import champion_summary, measured_of, planner_history

_MOST_RUNS = 50
_UNUSED = ("plan", "program", "answer_form", "parent_id", "parent_bitrate", "champion")
_SCORING = """\
`bitrate_mbps` = 10 x the geometric mean, over clips, of (your bits / x265 medium's bits) at equal
PSNR-Y, at the quality that x265 reaches at 0.1608 bits a luma sample (10 Mbit/s for 1080p30). HEVC
is 10.00 by definition; lower is better; quality that is thrown away gains nothing.

First come 3 frames of each clip (smoke), then {screen_frames} frames at one rate (screen): what
saves {screen_gain:.0f} % of the bits of the version to beat there always goes on, and so does what
could still win. Then all clips at 4 rates or more. {adoption}"""

_HAND_IN = """\
Write the whole program into a file. What to run, cheapest first:

    evocodec eval FILE --anchor x265-medium --clip {clip}   # one clip, one anchor: a minute or two
    evocodec compare {beaten} FILE --anchor x265-medium     # against {what}, clip by clip
    evocodec eval FILE                                      # all clips and anchors
    evocodec submit FILE --note "why it saves bits"         # the whole way, adoption included

`submit` reviews, screens and measures it against the version to beat, and adopts it by the rules
above; the other commands adopt nothing."""


def write_brief(lab: Laboratory) -> str:
    """The contract, the scoring, the version to beat, what was tried, and a program to start from.

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
    prompts = make_prompts(settings)
    clips = _clips(settings)
    rendered = prompts.render("coder", **dict.fromkeys(_UNUSED, ""))
    beaten = f"v{current.version}" if current else "inter"
    sections = {
        "How it works": _contract(rendered.messages[0].content),
        "How it is scored": _SCORING.format(
            screen_frames=settings.evaluation.screen_frames,
            screen_gain=100 * (1 - settings.evaluation.screen_keep_below),
            adoption=describe_adoption(prompts.thresholds),
        ),
        "The clips": "\n".join(f"- `{name}`" for name in clips) or "None can be read.",
        "The version to beat": champion_summary(facts) + _measured(lab, beaten, program),
        "What was tried, newest last": describe_history(_tried(lab)),
        "Marked constants": describe_tunables(program),
        "How to hand it in": _HAND_IN.format(
            clip=clips[0] if clips else "CLIP",
            beaten=beaten,
            what="the version to beat" if current else "the seed program",
        ),
        "The program to start from": fenced(program.text, limit=10**7, language="python"),
    }
    return "\n".join(f"# {title}\n\n{text.strip()}\n" for title, text in sections.items())


def _contract(prompt: str) -> str:
    """The coder's prompt without what is meant for a chat: who it is, and how it answers."""
    contract = prompt.partition("How to answer.")[0]
    return contract[contract.index("The contract:") :]


def _clips(settings: Settings) -> tuple[str, ...]:
    """The clips as ``--clip`` takes them."""
    try:
        sources = clip_sources(settings)
    except SourceError:
        return ()
    if settings.evaluation.clips:
        return tuple(format_clip(source) for source in sources)
    return tuple(f"@{BUILT_IN}/{source.name}" for source in sources)


def _tried(lab: Laboratory) -> tuple[HistoryItem, ...]:
    """The last experiments of all runs: each submission is a run of its own."""
    wanted = lab.settings.run.history
    found: list[HistoryItem] = []
    for run_id in lab.ledger.runs()[:_MOST_RUNS]:
        if len(found) >= wanted:
            break
        archive = Archive(seed=lab.settings.run.seed)
        for _, event in lab.resolver.events(run_id):
            archive.observe(event)
        items = planner_history(lab.resolver.view(run_id), archive, wanted)
        named = [replace(item, candidate_id=f"{run_id}/{item.candidate_id}") for item in items]
        found = [*named, *found]
    return tuple(found[max(0, len(found) - wanted) :]) if wanted else ()


def _measured(lab: Laboratory, label: str, program: Program) -> str:
    """The newest measurement of the program to start from, clip by clip; empty for none."""
    for run_id in lab.ledger.runs()[:_MOST_RUNS]:
        for candidate in lab.resolver.view(run_id).candidates:
            if candidate.score is not None and candidate.source_sha256 == program.sha256:
                table = describe_measured(
                    _rates(lab, run_id, candidate.score),
                    wall_seconds=lab.settings.sandbox.wall_seconds,
                )
                return (
                    f"\n\n{label}, the program below, came to {candidate.score.bitrate_mbps:.2f} "
                    f"Mbit/s in {run_id}:\n{table}"
                )
    return f"\n\n{label}, the program below, has not been measured in this workspace."


def _rates(lab: Laboratory, run_id: str, score: Score) -> Measured:
    anchors: dict[str, RdCurve] = {
        event.curve.clip: event.curve
        for _, event in lab.ledger.events(run_id, kinds=kinds_of(AnchorReady))
        if isinstance(event, AnchorReady) and event.primary
    }
    return measured_of(score, anchors, None)
