"""Endpoint settings of one role: the common model settings, with the role's own on top."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import SecretStr

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import ConfigError
from evocodec.domain.vocabulary import ModelRole

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Endpoint of one role: address, key, form of requests, limits.

    Prices are in US dollars per million tokens. ``own`` names the settings that are the role's own.
    ``max_tokens`` and ``timeout_seconds`` are 0 where a call's size decides (``sizes.py``).
    """

    role: ModelRole
    own: frozenset[str]
    base_url: str = field(repr=False)
    api_key: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    model: str
    temperature: float | None
    max_tokens: int
    token_limit_name: str
    system_role: str
    stream: bool
    extra_body_json: str
    timeout_seconds: float
    idle_seconds: float
    ca_file: str
    proxy: str = field(repr=False)
    price_input_usd_per_million: float
    price_output_usd_per_million: float
    price_cached_usd_per_million: float | None

    @property
    def host(self) -> str:
        """Name or address of the server, in lower case."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def shown_url(self) -> str:
        """The base URL as people may see it: without a password, and without parameters."""
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))

    def url_of(self, path: str) -> str:
        """Return the URL of a resource below the base URL; its parameters are in ``query``."""
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, query="", fragment=""))

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the base URL, such as Azure's ``api-version``."""
        return dict(parse_qsl(urlsplit(self.base_url).query, keep_blank_values=True))

    @property
    def extra_body(self) -> dict[str, Any]:
        """Further fields of the request."""
        found: dict[str, Any] = json.loads(self.extra_body_json)
        return found

    @property
    def server(self) -> tuple[str, str, str]:
        """What is learnt by asking holds for: the same model of the same server."""
        return (self.base_url, self.model, self.extra_body_json)

    @property
    def of_openai(self) -> bool:
        """Whether it is OpenAI's or Azure's own, which name the token limit differently."""
        return self.host == "api.openai.com" or self.host.endswith(
            (".api.openai.com", ".azure.com")
        )

    def setting(self, name: str) -> str:
        """The full name of the setting that holds here: ``model.coder.model``, ``model.model``."""
        return f"model.{self.role}.{name}" if name in self.own else f"model.{name}"

    def variable(self, name: str) -> str:
        """The environment variable of the same setting."""
        return f"EVOCODEC_{self.setting(name).upper().replace('.', '__')}"

    def cost_usd(
        self, prompt_tokens: int, completion_tokens: int, *, cached_tokens: int = 0
    ) -> float:
        """Cost of a call by the configured prices; the cached tokens are of the prompt's."""
        of_cached = self.price_cached_usd_per_million
        if of_cached is None:
            of_cached = self.price_input_usd_per_million
        return (
            (prompt_tokens - cached_tokens) * self.price_input_usd_per_million
            + cached_tokens * of_cached
            + completion_tokens * self.price_output_usd_per_million
        ) / 1e6


def endpoint_for(settings: ModelSettings, role: ModelRole) -> Endpoint:
    """Return the endpoint of a role; raises ConfigError for one that cannot be used."""
    unset: tuple[object, ...] = ("", None, SecretStr(""), {})
    own = {name: value for name, value in settings.of_role(role) if value not in unset}
    if own.get("base_url", settings.base_url) != settings.base_url:
        # A key is never shown to a server that it was not set for.
        own.setdefault("api_key", SecretStr(""))
        own.setdefault("headers", {})
    merged = settings.model_copy(update=own)
    endpoint = Endpoint(
        role=role,
        own=frozenset(own),
        base_url=merged.base_url or OPENAI_URL,
        api_key=merged.api_key.get_secret_value(),
        headers=tuple((name, value.get_secret_value()) for name, value in merged.headers.items()),
        model=merged.model,
        temperature=None if isinstance(merged.temperature, str) else merged.temperature,
        max_tokens=merged.max_tokens,
        token_limit_name=merged.token_limit_name,
        system_role=merged.system_role,
        stream=merged.stream,
        extra_body_json=json.dumps(merged.extra_body, sort_keys=True),
        timeout_seconds=merged.timeout_seconds,
        idle_seconds=merged.idle_seconds,
        ca_file=merged.ca_file,
        proxy=merged.proxy,
        price_input_usd_per_million=merged.price_input_usd_per_million,
        price_output_usd_per_million=merged.price_output_usd_per_million,
        price_cached_usd_per_million=merged.price_cached_usd_per_million,
    )
    if not endpoint.model:
        raise ConfigError("model.model is empty: set it to a name that the endpoint knows")
    if not merged.base_url and not (endpoint.api_key or endpoint.headers):
        raise ConfigError(
            "model.base_url and model.api_key are both empty: set the URL of your endpoint "
            "(EVOCODEC_MODEL__BASE_URL), or a key for OpenAI (EVOCODEC_MODEL__API_KEY)"
        )
    return endpoint
