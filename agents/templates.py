"""Prompt templates: versioned Markdown files, rendered into messages, identified by their hash."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from agents.reading.reasoning import answer_in
from evocodec.models.contract import ChatMessage
from evocodec.rules.adoption import Thresholds
from evocodec.sandbox.policy import Limits, Policy

ROLES = ("planner", "coder", "coder_repair", "reviewer", "judge")
FOLLOW_UPS = ("again", "coder_again")
"""Templates that follow the model's own reply to a prompt of a role: they have a user half only."""
_REPLY_LIMIT = 16_000  # characters of its own reply that a model is shown
_HALVES = re.compile(r"^<!-- (system|user) -->\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One file: the system half, the user half, and the hash of the whole text."""

    name: str
    system: Template
    user: Template
    sha256: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt to send, and the hash of the template that it was made from."""

    messages: tuple[ChatMessage, ...]
    template_sha256: str


@cache
def load_template(name: str) -> PromptTemplate:
    """Read ``prompts/<name>.md``; raises ValueError when one of its halves is not there."""
    text = (files("agents") / "prompts" / f"{name}.md").read_text(encoding="utf-8")
    return parse_template(name, text)


def parse_template(name: str, text: str) -> PromptTemplate:
    """Split a template at ``<!-- system -->`` and ``<!-- user -->``."""
    parts = _HALVES.split(text)
    halves = dict(zip(parts[1::2], parts[2::2], strict=True))
    wanted = {"user"} if name in FOLLOW_UPS else {"system", "user"}
    if set(halves) != wanted:
        raise ValueError(f"prompt {name}: needs one <!-- system --> and one <!-- user --> half")
    return PromptTemplate(
        name=name,
        system=Template(halves.get("system", "").strip()),
        user=Template(halves["user"].strip()),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class Prompts:
    """Renders templates with the facts that hold for a whole run.

    ``imports``: what candidates may import here. ``limits``: those of one encode or decode.
    ``screen_keep_below``: the largest screen ratio that earns a full evaluation. ``thresholds``:
    what a program has to reach.
    """

    imports: tuple[str, ...]
    limits: Limits
    policy: Policy
    screen_keep_below: float
    thresholds: Thresholds

    def render(self, name: str, **values: str) -> Prompt:
        """Fill in a template; raises KeyError when it names a value that is not given."""
        template = load_template(name)
        known = {**self._facts(), **values}
        return Prompt(
            messages=(
                ChatMessage("system", template.system.substitute(known)),
                ChatMessage("user", template.user.substitute(known)),
            ),
            template_sha256=template.sha256,
        )

    def follow(self, prompt: Prompt, reply: str, name: str, **values: str) -> Prompt:
        """Return a prompt and its reply, then what ``name`` says about the reply."""
        template = load_template(name)
        own = answer_in(reply).text.strip() or reply.strip()
        return Prompt(
            messages=(
                *prompt.messages,
                ChatMessage("assistant", bounded(own, _REPLY_LIMIT) or "(nothing)"),
                ChatMessage("user", template.user.substitute({**self._facts(), **values})),
            ),
            template_sha256=template.sha256,
        )

    def _facts(self) -> dict[str, str]:
        codecs = (
            "Calling an existing codec is allowed in this run, and every report says so."
            if self.policy.allow_library_codecs
            else "Existing codecs (image or video, in any library) are refused: "
            "the point is to write one."
        )
        return {
            "imports": ", ".join(self.imports),
            "wall_seconds": f"{self.limits.wall_seconds:g}",
            "memory_mib": str(self.limits.memory_bytes >> 20),
            "max_program_kib": str(self.policy.max_program_bytes >> 10),
            "max_literal_kib": f"{self.policy.max_literal_bytes / 1024:g}",
            "screen_gain": f"{100 * (1 - self.screen_keep_below):.0f}",
            "library_codecs": codecs,
            "adoption": describe_adoption(self.thresholds),
        }


def describe_adoption(thresholds: Thresholds) -> str:
    """What a program has to reach to become a version, in one sentence for each case."""
    return (
        f"A first version is adopted below {thresholds.adopt_first_below_mbps:g} Mbit/s, and as a "
        f"chance below {thresholds.chance_first_below_mbps:g}. A later version needs "
        f"{thresholds.bitrate_gain_percent:g} % fewer bits than the version to beat, or "
        f"{thresholds.compression_gain_percent:g} % more compression. At "
        f"{thresholds.confidence:.0%} confidence over the clips the worse end must be a gain too. "
        f"What passes is measured again on other video, and the gain has to remain: what only "
        f"suits these clips is refused."
    )


def fenced(text: str, *, limit: int = 6000, language: str = "") -> str:
    """Put untrusted text between fences that it cannot close, bounded by cutting its middle."""
    kept = bounded(text, limit)
    longest = max((len(run) for run in re.findall(r"`+", kept)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{kept.rstrip()}\n{fence}"


def bounded(text: str, limit: int) -> str:
    """At most about ``limit`` characters: the beginning and the end say most."""
    if len(text) <= limit:
        return text
    head, tail = limit // 3, limit - limit // 3
    cut = len(text) - head - tail
    return f"{text[:head]}\n[... {cut} characters left out ...]\n{text[-tail:]}"
