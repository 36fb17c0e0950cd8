"""Input tokens of one candidate: prompts stay within their budget with the default seed."""

from benchmarks.bench_prompts import prompt_tokens


def test_a_candidate_of_the_default_seed_costs_no_more_than_40_000_input_tokens() -> None:
    assert sum(prompt_tokens().values()) <= 40_000
