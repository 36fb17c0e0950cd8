"""Model settings: per-role endpoints, keys that stay put, and budgets that can be counted."""

import pytest

from evocodec.domain.errors import BudgetExhausted, ConfigError
from evocodec.models.budget import Budget
from evocodec.models.settings import OPENAI_URL, ModelSettings, RoleSettings


def test_without_a_base_url_a_key_means_openai() -> None:
    endpoint = ModelSettings(model="m", api_key="k").for_role("coder")
    assert endpoint.base_url == OPENAI_URL
    assert endpoint.of_openai
    assert not endpoint.loopback


def test_neither_base_url_nor_key_is_a_mistake_that_is_explained() -> None:
    with pytest.raises(ConfigError, match="EVOCODEC_MODEL__BASE_URL"):
        ModelSettings(model="m").for_role("coder")


def test_a_base_url_needs_a_scheme() -> None:
    with pytest.raises(ConfigError, match="must begin with http"):
        ModelSettings(model="m", base_url="localhost:8000").for_role("coder")


def test_a_model_must_be_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.model is empty"):
        ModelSettings(model="", base_url="http://h/v1").for_role("coder")


def test_a_key_is_never_sent_to_a_server_that_it_was_not_set_for() -> None:
    settings = ModelSettings(
        model="m",
        base_url="https://one.example/v1",
        api_key="secret",
        roles={
            "planner": RoleSettings(base_url="https://two.example/v1"),
            "judge": RoleSettings(base_url="https://two.example/v1", api_key="other"),
            "coder": RoleSettings(model="big"),
        },
    )
    assert settings.for_role("planner").api_key == ""
    assert settings.for_role("judge").api_key == "other"
    assert settings.for_role("coder").api_key == "secret"
    assert settings.for_role("coder").model == "big"
    assert "secret" not in repr(settings)
    assert "other" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80/v1", True),
        ("http://[::1]:80/v1", True),
        ("http://localhost/v1", True),
        ("http://10.0.0.1/v1", False),
        ("https://127.0.0.1.example.com/v1", False),
    ],
)
def test_proxies_are_bypassed_for_this_machine_only(url: str, loopback: bool) -> None:
    assert ModelSettings(model="m", base_url=url).for_role("coder").loopback is loopback


def test_a_money_budget_without_prices_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="price"):
        ModelSettings(model="m", budget_usd=1.0)


def test_a_promise_counts_until_the_call_ends() -> None:
    budget = Budget(ModelSettings(model="m", budget_tokens=100))
    with budget.promise(30, 30), pytest.raises(BudgetExhausted), budget.promise(20, 30):
        pytest.fail("the second call is not covered")
    with budget.promise(50, 50):
        pass
    budget.spend(60, 0.0)
    with pytest.raises(BudgetExhausted, match="60 of 100"), budget.promise(20, 30):
        pytest.fail("nothing is left")


def test_no_budget_is_no_limit() -> None:
    with Budget(ModelSettings(model="m"), tokens=10**9).promise(10**9, 10**9):
        pass
