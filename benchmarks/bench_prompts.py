"""Prompt sizes: what one candidate costs in input tokens, with the seed program and a full history.

Tokens are estimated, since tokenisers fetch their tables from the network: the seed program has
84,556 characters and 24,628 tokens of o200k_base, which is 3.43 characters a token. Prose has more
characters a token than code, so that the estimate is high.

    python -m benchmarks.bench_prompts
"""

from dataclasses import dataclass, replace

from agents.coder import ModelCoder
from agents.planner import ModelPlanner
from agents.requests import (
    CodeRequest,
    HistoryItem,
    Measured,
    Parent,
    Past,
    PlanRequest,
    RateRow,
    ReviewRequest,
)
from agents.reviewer import ModelReviewer, StaticReviewer
from benchmarks.bench_sandbox import Row
from evocodec.app.engine import make_policy
from evocodec.app.programs import built_in
from evocodec.app.prompt_settings import make_prompts
from evocodec.codec.program import Program
from evocodec.config import Settings
from evocodec.domain.candidate import Origin, Plan
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.models.contract import ChatMessage, Reply
from evocodec.sandbox.parser_pool import ParserPool
from evocodec.sandbox.review.analysis import Analyser

CHARACTERS_PER_TOKEN = 84_556 / 24_628
_TEXT = "Quarter-sample motion with an eight-tap filter saves 4 % on moving edges of all clips. "
_REPLIES = {
    ModelRole.PLANNER: '{"hypothesis": "Finer steps save bits.", "steps": ["lower GOP_SIZE"]}',
    ModelRole.REVIEWER: '{"findings": []}',
}


@dataclass
class CountingGateway:
    """Answers as a good model would, and keeps what it was asked."""

    coder_reply: str
    origin: Origin = Origin.MODEL

    def __post_init__(self) -> None:
        self.characters: dict[ModelRole, int] = {}

    def chat(self, role: ModelRole, messages: "tuple[ChatMessage, ...]", **_named: object) -> Reply:
        self.characters[role] = sum(len(message.content) for message in messages)
        return Reply(_REPLIES.get(role, self.coder_reply), CallOutcome.OK, "counting")


def prompt_tokens() -> dict[ModelRole, int]:
    """Estimated input tokens of each role for one candidate that needs no repair."""
    settings = Settings()
    prompts = make_prompts(settings)
    seed = Program(built_in("inter"))
    line = next(x for x in seed.text.split("\n") if x.startswith("GOP_SIZE = "))
    edit = f"<<<<<<< SEARCH\n{line}\n=======\n{line.replace('= 4', '= 8')}\n>>>>>>> REPLACE\n"
    gateway = CountingGateway(edit)
    pool = ParserPool(processes=1)
    try:
        analyser = Analyser(make_policy(settings), pool)
        parent = Parent("c0001", seed, 13.6)
        plan = ModelPlanner(gateway, prompts).plan(_plan_request(parent))  # type: ignore[arg-type]
        coder = ModelCoder(gateway, prompts, analyser)  # type: ignore[arg-type]
        champion = "v1: 13.60 Mbit/s where HEVC needs 10.00 for the same quality."
        written = coder.write(
            CodeRequest("r", "c0007", 0, _long(plan), parent, champion=champion)
        ).program
        reviewer = ModelReviewer(StaticReviewer(analyser), gateway, prompts)  # type: ignore[arg-type]
        reviewer.review(ReviewRequest("r", "c0007", 0, written, _long(plan), parent=seed))
    finally:
        pool.close()
    return {r: round(n / CHARACTERS_PER_TOKEN) for r, n in gateway.characters.items()}


def _long(plan: Plan) -> Plan:
    return replace(plan, steps=tuple(_TEXT * 3 for _ in range(6)))


def _plan_request(parent: Parent) -> PlanRequest:
    items = tuple(
        HistoryItem(f"c{n:04d}", "rejected", _TEXT * 2, reason=_TEXT * 2, bitrate_mbps=13.1,
                    improvement_percent=3.2, compared_with="v1")
        for n in range(2, 22)
    )  # fmt: skip
    rows = tuple(
        RateRow(clip, 30.0 + n, 100_000 * n, 1.31, 0.97)
        for clip in ("carphone", "city", "dog")
        for n in range(1, 6)
    )
    return PlanRequest(
        "r", "c0022", 22, parent, "v1: 13.60 Mbit/s where HEVC needs 10.00", items, (), 1,
        Measured(rows, 14.8, 5.1),
        Past(in_flight=(_TEXT, _TEXT, _TEXT), last_adoption="-GOP_SIZE = 4\n+GOP_SIZE = 8\n"),
    )  # fmt: skip


def prompt_row() -> Row:
    """The row of the table."""
    tokens = prompt_tokens()
    parts = ", ".join(f"{role} {count:,}" for role, count in tokens.items())
    return Row("input tokens of a candidate", f"{sum(tokens.values()):,}", f"estimated: {parts}")


def main() -> None:
    """Print a table."""
    tokens = prompt_tokens()
    for role, count in tokens.items():
        print(f"{role:<10} {count:7,}")
    print(f"{'together':<10} {sum(tokens.values()):7,}")


if __name__ == "__main__":
    main()
