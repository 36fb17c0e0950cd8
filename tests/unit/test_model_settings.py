"""Model settings: per-role endpoints, keys that stay put, and budgets that can be counted."""

import pytest

from evocodec.config import load_settings
from evocodec.config_sections import ModelSettings, RoleSettings
from evocodec.domain.errors import ConfigError
from evocodec.domain.vocabulary import ModelRole
from evocodec.models.budget import Budget
from evocodec.models.endpoint import OPENAI_URL, Endpoint, endpoint_for


def settings(**changes: object) -> ModelSettings:
    """Settings as a file or the environment gives them."""
    return ModelSettings.model_validate(changes)


def of_at_most(max_tokens: int) -> Endpoint:
    """An endpoint whose replies are bounded so."""
    return endpoint_for(
        settings(model="m", base_url="http://127.0.0.1/v1", max_tokens=max_tokens), ModelRole.CODER
    )


def test_without_a_base_url_a_key_means_openai() -> None:
    endpoint = endpoint_for(settings(model="m", api_key="k"), ModelRole.CODER)
    assert endpoint.base_url == OPENAI_URL
    assert endpoint.of_openai


def test_neither_base_url_nor_key_is_a_mistake_that_is_explained() -> None:
    with pytest.raises(ConfigError, match="EVOCODEC_MODEL__BASE_URL"):
        endpoint_for(settings(model="m"), ModelRole.CODER)


def test_a_base_url_needs_a_scheme() -> None:
    with pytest.raises(ConfigError, match=r"model\.base_url: the URL must begin with http"):
        load_settings(flags={"model.model": "m", "model.base_url": "localhost:8000"})


def test_a_model_must_be_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.model is empty"):
        endpoint_for(settings(base_url="http://h/v1"), ModelRole.CODER)


def test_a_key_is_never_sent_to_a_server_that_it_was_not_set_for() -> None:
    given = settings(
        model="m",
        base_url="https://one.example/v1",
        api_key="secret",
        planner={"base_url": "https://two.example/v1"},
        judge={"base_url": "https://two.example/v1", "api_key": "other"},
        coder={"model": "big"},
    )
    assert endpoint_for(given, ModelRole.PLANNER).api_key == ""
    assert endpoint_for(given, ModelRole.JUDGE).api_key == "other"
    assert endpoint_for(given, ModelRole.CODER).api_key == "secret"
    assert endpoint_for(given, ModelRole.CODER).model == "big"
    assert "secret" not in repr(given)
    assert "other" not in repr(given)


def test_a_role_has_all_that_it_sets_and_the_common_rest() -> None:
    own = {
        "base_url": "https://two.example/v1",
        "api_key": "k2",
        "model": "big",
        "temperature": 0.0,
        "max_tokens": 17,
        "timeout_seconds": 9.0,
        "idle_seconds": 8.0,
        "stream": False,
        "token_limit_name": "none",
        "system_role": "no",
        "ca_file": "/ca.pem",
        "proxy": "none",
        "price_input_usd_per_million": 0.0,
        "price_output_usd_per_million": 5.0,
        "price_cached_usd_per_million": 1.0,
    }
    dicts = {"headers": {"api-key": "k3"}, "extra_body": {"seed": 1}}
    assert {*own, *dicts} == set(RoleSettings.model_fields)
    common = {"base_url": "https://one.example/v1", "api_key": "k1", "model": "m"}
    prices = {"price_input_usd_per_million": 2.0, "price_output_usd_per_million": 3.0}
    given = settings(**common, **prices, coder={**own, **dicts})
    coder, planner = endpoint_for(given, ModelRole.CODER), endpoint_for(given, ModelRole.PLANNER)
    assert {name: getattr(coder, name) for name in own} == own
    assert (coder.headers, coder.extra_body) == ((("api-key", "k3"),), {"seed": 1})
    assert coder.own == {*own, *dicts}
    assert coder.cost_usd(10**6, 10**6) == 5.0
    assert planner.own == set()
    assert (planner.base_url, planner.api_key) == ("https://one.example/v1", "k1")
    assert planner.temperature == given.temperature
    assert planner.cost_usd(10**6, 10**6) == 5.0


def test_an_endpoint_names_the_setting_that_holds() -> None:
    given = settings(
        model="m", base_url="https://one.example/v1", coder={"base_url": "https://two.example/v1"}
    )
    coder, planner = endpoint_for(given, ModelRole.CODER), endpoint_for(given, ModelRole.PLANNER)
    assert coder.setting("base_url") == "model.coder.base_url"
    assert coder.variable("api_key") == "EVOCODEC_MODEL__CODER__API_KEY"
    assert coder.setting("model") == planner.setting("model") == "model.model"
    assert planner.variable("api_key") == "EVOCODEC_MODEL__API_KEY"


def test_a_role_is_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOCODEC_MODEL__CODER__BASE_URL", "https://two.example/v1")
    monkeypatch.setenv("EVOCODEC_MODEL__CODER__API_KEY", "k2")
    coder = endpoint_for(load_settings(flags={"model.model": "m"}).model, ModelRole.CODER)
    assert (coder.base_url, coder.api_key) == ("https://two.example/v1", "k2")


@pytest.mark.parametrize("name", ["model.api_key", "model.judge.api_key"])
def test_a_key_read_from_a_file_loses_its_line_end(name: str) -> None:
    loaded = load_settings(flags={name: " sk-from-a-file\r\n"})
    assert list(loaded.secrets()) == ["sk-from-a-file"]


@pytest.mark.parametrize("key", ["sk-two words", "sk-two\nlines", "sk-\x00"])
def test_a_key_that_no_header_could_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(
        ConfigError, match=r"model\.coder\.api_key: the key has white space"
    ) as raised:
        load_settings(flags={"model.coder.api_key": key})
    assert key not in str(raised.value)


def test_urls_and_names_lose_the_white_space_around_them() -> None:
    given = load_settings(flags={"model.base_url": "https://h/v1\n", "model.coder.model": " big "})
    assert (given.model.base_url, given.model.coder.model) == ("https://h/v1", "big")


def test_a_money_budget_without_prices_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"model: budget_usd needs prices"):
        load_settings(flags={"model.model": "m", "model.budget_usd": 1.0})


def test_the_price_of_one_role_is_enough_for_a_money_budget() -> None:
    assert settings(budget_usd=1.0, coder={"price_output_usd_per_million": 1.0}).budget_usd == 1.0


def test_no_budget_is_no_limit() -> None:
    with Budget(settings(), tokens=10**9).promise(of_at_most(10**9), 10**9):
        pass
