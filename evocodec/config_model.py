"""Settings of language models: endpoints, what is sent to them, limits and prices."""

import json
import re
import socket
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from evocodec.config_base import Section, names
from evocodec.domain.vocabulary import ModelRole

Trimmed = Annotated[str, StringConstraints(strip_whitespace=True)]
"""Text without the white space that copying leaves at its ends."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, 5.6.2
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
# Evocodec writes these itself; a second one would contradict the record.
_OWN_FIELDS = frozenset({"messages", "model", "stream", "n"})


def _clean_key(key: SecretStr) -> SecretStr:
    """Take the line end off that a key read from a file has; it could not be sent in a header."""
    text = key.get_secret_value().strip()
    if any(not character.isprintable() or character.isspace() for character in text):
        raise ValueError("the key has white space or control characters inside: copy it again")
    if not text.isascii():
        raise ValueError("the key has characters besides ASCII, which no header carries: copy it")
    return SecretStr(text)


def _clean_url(url: str) -> str:
    """Return an endpoint's URL without what is added to it anyway; empty stays empty."""
    if not url:
        return url
    _check_url(url, ("http", "https"))
    return url.rstrip("/").removesuffix("/chat/completions")


def _clean_proxy(url: str) -> str:
    if url not in ("", "none"):
        _check_url(url, _PROXY_SCHEMES)
    return url


def _check_url(url: str, schemes: tuple[str, ...]) -> None:
    """Raise ValueError for what no request can be sent to; the text never repeats a password."""
    if any(not character.isprintable() or character.isspace() for character in url):
        raise ValueError("the URL has white space or control characters inside: copy it again")
    wanted = " or ".join(f"{scheme}://" for scheme in schemes[:2])
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"this is no URL ({error}): write it as {wanted}host:port/path") from None
    if parts.scheme not in schemes:
        raise ValueError(f"the URL must begin with {wanted}, as in {wanted.split(' ')[0]}host:8000")
    if not host or port == 0:
        raise ValueError(f"the URL names no {'port' if host else 'host'}: write {wanted}host:port")
    try:
        socket.inet_pton(socket.AF_INET6, host) if ":" in host else host.encode("idna")
    except (OSError, UnicodeError):
        raise ValueError("the URL's host is no name and no address: check it") from None


def _clean_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
    return {name: _clean_header_value(value) for name, value in headers.items()}


def _clean_header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not text.isascii() or not text.isprintable():
        raise ValueError("the value of a header must be printable ASCII")
    return SecretStr(text)


def _clean_body(body: dict[str, Any]) -> dict[str, Any]:
    own = _OWN_FIELDS & body.keys()
    if own:
        raise ValueError(f"{', '.join(sorted(own))} cannot be set here: Evocodec writes it itself")
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("this is no JSON object: use texts, numbers, lists and tables") from None
    return body


Key = Annotated[SecretStr, AfterValidator(_clean_key)]
"""A secret that is sent in an HTTP header."""
EndpointUrl = Annotated[Trimmed, AfterValidator(_clean_url)]
ProxyUrl = Annotated[Trimmed, AfterValidator(_clean_proxy)]
Headers = Annotated[dict[str, SecretStr], AfterValidator(_clean_headers)]
"""HTTP headers; any value may be a key, so all are treated as secrets."""
ExtraBody = Annotated[dict[str, Any], AfterValidator(_clean_body)]
Temperature = Annotated[float, Field(ge=0, le=2)] | Literal["unset"]
TokenLimitName = Literal["auto", "max_tokens", "max_completion_tokens", "none"]
TokenLimit = Annotated[int, Field(ge=0)]


class RoleSettings(Section):
    """A role's own settings; what is empty or not set is the common setting."""

    ANY_FILE = names(
        "model temperature max_tokens timeout_seconds idle_seconds stream token_limit_name "
        "system_role price_input_usd_per_million price_output_usd_per_million "
        "price_cached_usd_per_million"
    )
    TRUSTED_FILE = names("base_url api_key headers extra_body ca_file proxy")

    base_url: EndpointUrl = Field("", description="the role's own endpoint; empty: model.base_url")
    api_key: Key = Field(
        SecretStr(""),
        description="empty: model.api_key, or none where the role has an endpoint of its own",
    )
    headers: Headers = Field({}, description="empty: as api_key")
    model: Trimmed = Field("", description="empty: model.model")
    temperature: Temperature | None = Field(
        None, description="not set: model.temperature, and so with all that follow"
    )
    max_tokens: TokenLimit | None = Field(None, description="of one reply")
    timeout_seconds: float | None = Field(None, ge=0, description="of one request")
    idle_seconds: float | None = Field(None, gt=0, description="of silence in a streamed reply")
    stream: bool | None = Field(None, description="ask for the reply as it is written")
    token_limit_name: TokenLimitName | None = Field(None, description="of the token limit")
    system_role: Literal["auto", "yes", "no"] | None = Field(None, description="of the model")
    extra_body: ExtraBody = Field({}, description="empty: model.extra_body")
    ca_file: Trimmed = Field("", description="empty: model.ca_file")
    proxy: ProxyUrl = Field("", description="empty: model.proxy")
    price_input_usd_per_million: float | None = Field(None, ge=0, description="of tokens")
    price_output_usd_per_million: float | None = Field(None, ge=0, description="of tokens")
    price_cached_usd_per_million: float | None = Field(None, ge=0, description="of tokens")


class ModelSettings(Section):
    """Any OpenAI-compatible endpoint; without a base URL and a model none is used.

    A request is tried at most ``1 + max_retries`` times within ``gone_after_seconds``. Budgets hold
    for the whole run, resumed or not.
    """

    ANY_FILE = names(
        "model temperature max_tokens timeout_seconds idle_seconds stream token_limit_name "
        "system_role max_retries backoff_seconds gone_after_seconds max_concurrent preflight "
        "price_input_usd_per_million price_output_usd_per_million price_cached_usd_per_million "
        "budget_usd budget_tokens model_review model_judge"
    )
    TRUSTED_FILE = names("base_url api_key headers extra_body ca_file proxy")

    base_url: EndpointUrl = Field("", description="usually ends in /v1; empty: OpenAI, with a key")
    api_key: Key = Field(SecretStr(""), description="sent to base_url and to no other server")
    headers: Headers = Field(
        {}, description='sent to base_url and to no other server: {"api-key": "…"}'
    )
    model: Trimmed = Field("", description="a name that the endpoint knows; empty: no model")
    temperature: Temperature = Field(0.7, description="unset: leave it to the model")
    max_tokens: TokenLimit = Field(
        0, description="of one reply at most; 0: what the program's size and the context allow"
    )
    timeout_seconds: float = Field(
        0.0, ge=0, description="of one request as a whole; 0: by the token limit"
    )
    idle_seconds: float = Field(
        120.0, gt=0, description="of silence in a streamed reply; the first token may take longer"
    )
    stream: bool = Field(
        True, description="ask for the reply as it is written, so that slow is not dead"
    )
    token_limit_name: TokenLimitName = Field(
        "auto", description="auto: what the endpoint understands; none: send no limit"
    )
    system_role: Literal["auto", "yes", "no"] = Field(
        "auto", description="no: instructions go to the front of the user's message"
    )
    extra_body: ExtraBody = Field(
        {}, description='more fields of the request: {"reasoning_effort": "low"}'
    )
    ca_file: Trimmed = Field(
        "", description="PEM file of the authorities to believe; empty: SSL_CERT_FILE or usual ones"
    )
    proxy: ProxyUrl = Field(
        "", description="URL; empty: as HTTPS_PROXY and NO_PROXY say; none: no proxy"
    )
    preflight: bool = Field(
        True, description="ask each endpoint one short question before a run begins"
    )
    max_retries: int = Field(4, ge=0, description="tries of one call after the first")
    backoff_seconds: float = Field(
        1.0, gt=0, description="pause before the second try; it doubles with each"
    )
    gone_after_seconds: float = Field(
        300.0, gt=0, description="a call without a sign of life for so long stops the run"
    )
    max_concurrent: int = Field(
        0, ge=0, description="calls at once at most; 0: one for each candidate in flight"
    )
    price_input_usd_per_million: float = Field(0.0, ge=0, description="of tokens, for the budget")
    price_output_usd_per_million: float = Field(0.0, ge=0, description="of tokens, for the budget")
    price_cached_usd_per_million: float | None = Field(
        None, ge=0, description="of input tokens that the provider has cached; not set: as input"
    )
    budget_usd: float = Field(0.0, ge=0, description="0 means no limit")
    budget_tokens: int = Field(0, ge=0, description="0 means no limit")
    model_review: bool = Field(True, description="let a model review on top of the static gate")
    model_judge: bool = Field(False, description="let a model explain or veto an adoption")
    planner: RoleSettings = RoleSettings()
    coder: RoleSettings = RoleSettings()
    reviewer: RoleSettings = RoleSettings()
    judge: RoleSettings = RoleSettings()

    @property
    def configured(self) -> bool:
        """Whether an endpoint is set."""
        return bool(self.model)

    def of_role(self, role: ModelRole) -> RoleSettings:
        """What a role has of its own."""
        return {
            ModelRole.PLANNER: self.planner,
            ModelRole.CODER: self.coder,
            ModelRole.REVIEWER: self.reviewer,
            ModelRole.JUDGE: self.judge,
        }[role]

    @property
    def roles(self) -> tuple[ModelRole, ...]:
        """The roles that a run asks a model for."""
        wanted = {ModelRole.REVIEWER: self.model_review, ModelRole.JUDGE: self.model_judge}
        return tuple(role for role in ModelRole if wanted.get(role, True))

    @model_validator(mode="after")
    def _require_prices(self) -> Self:
        priced = (self, self.planner, self.coder, self.reviewer, self.judge)
        if self.budget_usd > 0 and not any(
            part.price_input_usd_per_million or part.price_output_usd_per_million for part in priced
        ):
            raise ValueError(
                "budget_usd needs prices: set model.price_input_usd_per_million and "
                "model.price_output_usd_per_million, or use model.budget_tokens"
            )
        return self
