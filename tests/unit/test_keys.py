"""Keys: out of the environment, and out of everything that is shown."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

import evocodec.keys
from evocodec.cli.errors import without_keys
from evocodec.config import load_settings, origin_of
from evocodec.domain.errors import ConfigError
from evocodec.keys import (
    environment_of_the_users_tools,
    environment_with_keys,
    hide_keys,
    is_key,
    known_keys,
)
from evocodec.telemetry.redact import Redactor

KEY = 'sk/BAIT+47 11="q"&x'


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What a process holds, as before and after this test."""
    monkeypatch.setattr(evocodec.keys, "_held", {})
    monkeypatch.setattr(evocodec.keys, "_remembered", set())
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("EVOCODEC_MODEL__API_KEY", "evocodec_model__coder__api_key")),
        *(
            (name, True)
            for name in ("EVOCODEC_MODEL", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        ),
        *((name, True) for name in ("OPENAI_API_KEY", "HF_TOKEN", "GITHUB_TOKEN", "DB_PASSWORD")),
        *((name, False) for name in ("PATH", "HOME", "AWS_REGION", "AWS_PROFILE", "TOKENIZERS")),
        *((name, False) for name in ("EVOCODEC_MODEL__MODEL", "RAY_AUTH_TOKEN", "SSH_AUTH_SOCK")),
        *((name, False) for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "COMPATIBLE", "MONKEY")),
    ],
)
def test_keys_are_told_by_their_names(name: str, expected: bool) -> None:
    assert is_key(name) is expected


def test_a_hidden_key_is_still_a_setting_and_a_credential(process: pytest.MonkeyPatch) -> None:
    environment = {
        "PATH": "/bin",
        "EVOCODEC_MODEL__API_KEY": f" {KEY.replace(' ', '-')}\n",
        "EVOCODEC_MODEL__CODER": '{"api_key": "coders-own-key"}',
        "AWS_SECRET_ACCESS_KEY": "aws-bait-key",
        "GITHUB_TOKEN": "for-a-push",
    }
    hide_keys(environment)
    assert environment == {"PATH": "/bin"}
    assert environment_with_keys()["AWS_SECRET_ACCESS_KEY"] == "aws-bait-key"
    settings = load_settings(flags={"model.model": "m"})
    assert settings.model.api_key.get_secret_value() == KEY.replace(" ", "-")
    assert settings.model.coder.api_key.get_secret_value() == "coders-own-key"
    assert origin_of("model.api_key", file=None, flags={}) == "environment"
    tools = environment_of_the_users_tools()
    assert tools["GITHUB_TOKEN"] == "for-a-push"
    assert not {"AWS_SECRET_ACCESS_KEY", "EVOCODEC_MODEL__API_KEY"} & tools.keys()
    assert {"aws-bait-key", "coders-own-key", "for-a-push"} <= set(known_keys())


@pytest.mark.parametrize("around", ["{}", " {}\n", "\t{}\r\n", "'{}'"])
@pytest.mark.parametrize(
    "form",
    [
        *(lambda text: text, quote, quote_plus, lambda text: quote(text, safe="")),
        *(lambda text: json.dumps({"key": text}), repr, lambda text: text.encode().hex()),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(f"u:{text}".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"ab{text}yz".encode()).decode(),
        lambda text: base64.b64encode(f"a{text}".encode()).decode(),
    ],
)
def test_a_key_is_hidden_in_whatever_form(around: str, form: object) -> None:
    assert callable(form)
    redact = Redactor([around.format(KEY)])
    text = form(KEY)
    shown = redact(f"before {text} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "[hidden]" in shown
    for trace in ("BAIT", "QkFJV", "42414954"):
        assert trace not in shown


def test_short_words_and_other_text_are_left_alone() -> None:
    assert Redactor(["abc", "", "  "])("abc def") == "abc def"


def test_errors_hide_keys_of_the_environment_and_of_settings(process: pytest.MonkeyPatch) -> None:
    load_settings(flags={"model.api_key": "from-a-flag"})
    hide_keys({"OPENAI_API_KEY": "from-the-environment"})
    shown = without_keys("bad from-a-flag, from-the-environment, --set model.api_key=other")
    assert shown == "bad [hidden], [hidden], --set model.api_key=[hidden]"
    assert without_keys("https://token@host/x.git") == "https://[hidden]@host/x.git"


@pytest.mark.parametrize("key", ["two words", "a\nb", "nul\0l", "zero\u200bwidth", "ключ-ключ"])
def test_an_odd_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="copy it") as caught:
        load_settings(flags={"model.api_key": key})
    assert key not in str(caught.value)
