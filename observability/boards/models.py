"""Models dashboard: calls, failures and cost of language models."""

from evocodec.domain.vocabulary import CallOutcome
from observability.panels import GREEN, RED, YELLOW, Board, Panel, Query, Section
from observability.queries import RANGE, grown, of, percentile

RECEIVED = "|".join(outcome for outcome in CallOutcome if outcome.received)
SPENT = f"sum({of('model_cost_usd_total')})"
TOKENS = f"sum({of('model_tokens_total')})"

BOARD = Board(
    "evocodec-models",
    "Evocodec: models",
    "What language models cost, how they answer, and when they do not.",
    (
        Section(
            "Budget",
            (
                Panel(
                    "Spent",
                    "Money, in this run.",
                    "currencyUSD",
                    [Query(SPENT)],
                    width=4,
                    kind="number",
                    decimals=2,
                ),
                Panel(
                    "Of the budget",
                    "Share of model.budget_usd that is spent; no data without a budget.",
                    "percentunit",
                    [Query(f"{SPENT} / (sum({of('model_budget_usd')}) > 0)")],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (0.75, YELLOW), (0.9, RED)),
                    decimals=0,
                ),
                Panel(
                    "Tokens",
                    "In this run, prompts and completions.",
                    "short",
                    [Query(TOKENS)],
                    width=4,
                    kind="number",
                ),
                Panel(
                    "Of the token budget",
                    "Share of model.budget_tokens that is used; no data without a budget.",
                    "percentunit",
                    [Query(f"{TOKENS} / (sum({of('model_budget_tokens')}) > 0)")],
                    width=4,
                    kind="number",
                    thresholds=((None, GREEN), (0.75, YELLOW), (0.9, RED)),
                    decimals=0,
                ),
                Panel(
                    "A version costs",
                    "Money spent for each adoption.",
                    "currencyUSD",
                    [Query(f"{SPENT} / (sum({of('adoptions_total')}) > 0)")],
                    width=4,
                    kind="number",
                    decimals=2,
                ),
                Panel(
                    "Answered",
                    "Share of calls that got a reply, in the time shown.",
                    "percentunit",
                    [
                        Query(
                            "sum("
                            + grown(
                                "model_calls_total",
                                f'outcome=~"{RECEIVED}"',
                                window="$__range",
                            )
                            + f") / sum({grown('model_calls_total', window='$__range')})"
                        )
                    ],
                    width=4,
                    kind="number",
                    thresholds=((None, RED), (0.9, YELLOW), (0.99, GREEN)),
                    decimals=1,
                ),
                Panel(
                    "Money an hour",
                    "By role.",
                    "currencyUSD",
                    [
                        Query(
                            f"sum by (role) (rate({of('model_cost_usd_total')}[{RANGE}])) * 3600",
                            "{{role}}",
                        )
                    ],
                ),
                Panel(
                    "Tokens a second",
                    "By role and direction.",
                    "short",
                    [
                        Query(
                            f"sum by (role, direction) (rate({of('model_tokens_total')}[{RANGE}]))",
                            "{{role}} {{direction}}",
                        )
                    ],
                ),
            ),
        ),
        Section(
            "Answers",
            (
                Panel(
                    "Calls",
                    "By outcome; ok is a reply that could be used.",
                    "none",
                    [Query(f"sum by (outcome) ({grown('model_calls_total')})", "{{outcome}}")],
                    kind="bars",
                ),
                Panel(
                    "Requests tried again",
                    "By role: the endpoint was slow, busy or away.",
                    "none",
                    [Query(f"sum by (role) ({grown('model_retries_total')})", "{{role}}")],
                    kind="bars",
                ),
                Panel(
                    "Median time of a call",
                    "By role, retries included.",
                    "s",
                    [Query(percentile(0.5, "model_call_seconds", "role"), "{{role}}")],
                ),
                Panel(
                    "Slow calls",
                    "Nineteen of twenty calls were faster.",
                    "s",
                    [Query(percentile(0.95, "model_call_seconds", "role"), "{{role}}")],
                ),
            ),
        ),
    ),
)
