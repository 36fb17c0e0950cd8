"""Tokens and money of a call: what a server says where it can be true, else the worst."""

from typing import Any

import pytest

from evocodec.config_sections import ModelSettings
from evocodec.domain.vocabulary import ModelRole
from evocodec.models.contract import ChatMessage
from evocodec.models.endpoint import Endpoint, endpoint_for
from evocodec.models.usage import book, estimate, read_usage, worst

PROMPT = (ChatMessage("user", "word of code, " * 3000),)  # 42,000 characters
REPLY = "some text of a reply " * 100
READ = estimate(PROMPT)
UPSTREAM = {"upstream_inference_cost": 0.02}


def endpoint(**changes: Any) -> Endpoint:
    given = {
        "model": "m",
        "base_url": "http://127.0.0.1/v1",
        "max_tokens": 16_000,
        "price_input_usd_per_million": 3.0,
        "price_output_usd_per_million": 15.0,
        **changes,
    }
    return endpoint_for(ModelSettings.model_validate(given), ModelRole.CODER)


def booked(usage: object, **changes: Any) -> tuple[int, int, float]:
    found = book(endpoint(**changes), PROMPT, REPLY, read_usage(usage))
    return found.prompt_tokens, found.completion_tokens, found.cost_usd


def test_a_plausible_count_is_believed() -> None:
    usage = {"prompt_tokens": 12_000, "completion_tokens": 700, "total_tokens": 12_700}
    assert booked(usage) == (12_000, 700, pytest.approx(12_000 * 3e-6 + 700 * 15e-6))


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": -5, "completion_tokens": -1},
        {"prompt_tokens": "12000", "completion_tokens": [7]},
        {"prompt_tokens": 10**12, "completion_tokens": 3},
        {"prompt_tokens": 7, "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": False},
        {"prompt_tokens": float("nan"), "completion_tokens": 0.5},
        "many",
    ],
)
def test_a_count_that_cannot_be_true_is_replaced_by_what_the_texts_have_at_most(
    usage: object,
) -> None:
    assert booked(usage)[:2] == (READ, len(REPLY) // 3 + 1)


def test_a_reply_is_never_booked_without_bound() -> None:
    assert booked({"prompt_tokens": 12_000, "completion_tokens": 10**15})[1] == 16_000


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 12_000, "completion_tokens": 1_000, "total_tokens": 18_000},
        {
            "prompt_tokens": 12_000,
            "completion_tokens": 1_000,
            "completion_tokens_details": {"reasoning_tokens": 5_000},
        },
        {"prompt_tokens": 12_000, "completion_tokens": 1_000, "reasoning_tokens": 5_000},
    ],
)
def test_reasoning_that_is_counted_beside_the_reply_is_paid_for(usage: object) -> None:
    assert booked(usage)[:2] == (12_000, 6_000)


def test_reasoning_inside_the_reply_is_not_paid_twice() -> None:
    details = {"reasoning_tokens": 5_000}
    usage = {
        "prompt_tokens": 12_000,
        "completion_tokens": 6_000,
        "completion_tokens_details": details,
    }
    assert booked(usage)[:2] == (12_000, 6_000)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 12_000, "prompt_tokens_details": {"cached_tokens": 10_000}},
        {"prompt_tokens": 12_000, "prompt_cache_hit_tokens": 10_000},
        {"input_tokens": 2_000, "cache_read_input_tokens": 10_000},
    ],
)
def test_cached_input_costs_its_own_price(usage: dict[str, object]) -> None:
    usage = {**usage, "completion_tokens": 1_000}
    expected = 2_000 * 3e-6 + 10_000 * 0.3e-6 + 1_000 * 15e-6
    assert booked(usage, price_cached_usd_per_million=0.3) == (
        12_000,
        1_000,
        pytest.approx(expected),
    )
    # Without a price of its own it is dearer than it was, never cheaper.
    assert booked(usage)[2] == pytest.approx(12_000 * 3e-6 + 1_000 * 15e-6)


@pytest.mark.parametrize(
    ("more", "cost"),
    [
        ({"cost": 0.0123}, 0.0123),
        (
            {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}},
            0.021,
        ),
        ({"cost": 0}, 0.051),
        ({"cost": -1}, 0.051),
        ({"cost": "0.01"}, 0.051),
        ({"cost": 1e9}, 0.051),
        ({"cost": float("inf")}, 0.051),
        ({"cost": 10**400}, 0.051),
    ],
)
def test_the_cost_that_a_provider_states_is_used_if_it_can_be_true(
    more: dict[str, object], cost: float
) -> None:
    usage = {"prompt_tokens": 12_000, "completion_tokens": 1_000, **more}
    assert booked(usage)[2] == pytest.approx(cost)


def test_a_stated_cost_of_nothing_is_true_where_nothing_has_a_price() -> None:
    free = {"price_input_usd_per_million": 0.0, "price_output_usd_per_million": 0.0}
    assert booked({"prompt_tokens": 12_000, "completion_tokens": 10, "cost": 0}, **free)[2] == 0


def test_a_prompt_that_was_cut_is_noticed_and_booked_whole() -> None:
    found = book(
        endpoint(),
        PROMPT,
        REPLY,
        read_usage({"prompt_tokens": 2_048, "completion_tokens": 700}),
    )
    assert (found.cut, found.prompt_tokens) == (True, READ)


def test_the_worst_is_the_prompt_and_the_whole_limit() -> None:
    found = worst(endpoint(), 1_000)
    assert (found.prompt_tokens, found.completion_tokens) == (1_000, 16_000)
    assert found.cost_usd == pytest.approx(1_000 * 3e-6 + 16_000 * 15e-6)
