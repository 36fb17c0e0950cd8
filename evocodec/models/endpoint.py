"""Endpoint settings of one role: the common model settings, with the role's own on top."""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import ConfigError
from evocodec.domain.vocabulary import ModelRole

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Endpoint of one role: address, key, limits, and prices in US dollars per million tokens.

    ``own`` names the settings that are the role's own.
    """

    role: ModelRole
    own: frozenset[str]
    base_url: str
    api_key: str = field(repr=False)
    model: str
    temperature: float
    max_tokens: int
    timeout_seconds: float
    price_input_usd_per_million: float
    price_output_usd_per_million: float

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine: no proxy is used then."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def of_openai(self) -> bool:
        """Whether it is OpenAI's or Azure's own, which name the token limit differently."""
        host = urlsplit(self.base_url).hostname or ""
        return host.endswith(("api.openai.com", ".azure.com"))

    def setting(self, name: str) -> str:
        """The full name of the setting that holds here: ``model.coder.model``, ``model.model``."""
        return f"model.{self.role}.{name}" if name in self.own else f"model.{name}"

    def variable(self, name: str) -> str:
        """The environment variable of the same setting."""
        return f"EVOCODEC_{self.setting(name).upper().replace('.', '__')}"

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Cost of a call by the configured prices."""
        return (
            prompt_tokens * self.price_input_usd_per_million
            + completion_tokens * self.price_output_usd_per_million
        ) / 1e6


def endpoint_for(settings: ModelSettings, role: ModelRole) -> Endpoint:
    """Return the endpoint of a role; raises ConfigError for one that cannot be used."""
    unset = ("", None, SecretStr(""))
    own = {name: value for name, value in settings.of_role(role) if value not in unset}
    if own.get("base_url", settings.base_url) != settings.base_url:
        # A key is never shown to a server that it was not set for.
        own.setdefault("api_key", SecretStr(""))
    merged = settings.model_copy(update=own)
    endpoint = Endpoint(
        role=role,
        own=frozenset(own),
        base_url=merged.base_url or OPENAI_URL,
        api_key=merged.api_key.get_secret_value(),
        model=merged.model,
        temperature=merged.temperature,
        max_tokens=merged.max_tokens,
        timeout_seconds=merged.timeout_seconds,
        price_input_usd_per_million=merged.price_input_usd_per_million,
        price_output_usd_per_million=merged.price_output_usd_per_million,
    )
    if not endpoint.model:
        raise ConfigError("model.model is empty: set it to a name that the endpoint knows")
    if not merged.base_url and not endpoint.api_key:
        raise ConfigError(
            "model.base_url and model.api_key are both empty: set the URL of your endpoint "
            "(EVOCODEC_MODEL__BASE_URL), or a key for OpenAI (EVOCODEC_MODEL__API_KEY)"
        )
    if urlsplit(endpoint.base_url).scheme not in ("http", "https"):
        raise ConfigError(
            f"{endpoint.setting('base_url')} is {merged.base_url!r}: it must begin with http(s)://"
        )
    return endpoint
