"""How to reach a model, per role, and what it may cost."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from evocodec.domain.errors import ConfigError

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """Overrides for one role; an empty string or None means the common setting."""

    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    base_url: str = ""
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one role's calls go, and with what; ``temperature`` None leaves it to the server."""

    base_url: str
    api_key: str = field(repr=False)
    model: str
    temperature: float | None
    max_tokens: int

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine: then no proxy stands between."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """An OpenAI-compatible endpoint and the bounds on its use.

    ``timeout_seconds`` bounds one request from connecting to the last byte. A request is tried at
    most ``1 + max_retries`` times within ``gone_after_seconds``. Prices are US dollars a million
    tokens. Budgets hold for the whole run, resumed or not; zero means no limit.
    """

    model: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    temperature: float | None = 0.7
    max_tokens: int = 16_000
    timeout_seconds: float = 120.0
    max_retries: int = 4
    gone_after_seconds: float = 300.0
    backoff_seconds: float = 1.0
    max_concurrent: int = 8
    price_per_million_input_usd: float = 0.0
    price_per_million_output_usd: float = 0.0
    budget_usd: float = 0.0
    budget_tokens: int = 0
    roles: Mapping[str, RoleSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.budget_usd > 0 and not (
            self.price_per_million_input_usd or self.price_per_million_output_usd
        ):
            raise ConfigError(
                "model.budget_usd needs prices: set model.price_input_usd_per_million and "
                "model.price_output_usd_per_million, or use model.budget_tokens"
            )

    def for_role(self, role: str) -> Endpoint:
        """Return the endpoint of a role; raises ConfigError for one that cannot be used."""
        own = self.roles.get(role, RoleSettings())
        base_url = own.base_url or self.base_url
        api_key = own.api_key or self.api_key
        if own.base_url and own.base_url != self.base_url:
            api_key = own.api_key  # a key is never shown to a server it was not set for
        model = own.model or self.model
        if not model:
            raise ConfigError("model.model is empty: set it to a name that the endpoint knows")
        if not base_url and not api_key:
            raise ConfigError(
                "model.base_url and model.api_key are both empty: set the URL of your endpoint "
                "(EVOCODEC_MODEL__BASE_URL), or a key for OpenAI (EVOCODEC_MODEL__API_KEY)"
            )
        if base_url and urlsplit(base_url).scheme not in ("http", "https"):
            raise ConfigError(f"model.base_url is {base_url!r}: it must begin with http(s)://")
        temperature = self.temperature if own.temperature is None else own.temperature
        return Endpoint(
            base_url=base_url or OPENAI_URL,
            api_key=api_key,
            model=model,
            temperature=temperature,
            max_tokens=own.max_tokens or self.max_tokens,
        )

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What a call costs by the configured prices."""
        return (
            prompt_tokens * self.price_per_million_input_usd
            + completion_tokens * self.price_per_million_output_usd
        ) / 1e6
