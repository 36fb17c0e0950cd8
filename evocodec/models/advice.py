"""Advice for people: what each failure of a call means for the run, and which setting to change."""

from evocodec.domain.errors import (
    CandidateFailure,
    ConfigError,
    EndpointUnavailable,
    EvocodecError,
    FailureKind,
)
from evocodec.domain.vocabulary import CallOutcome
from evocodec.models.endpoint import Endpoint
from evocodec.models.failure import CallFailed


def error_for(
    failure: CallFailed, endpoint: Endpoint, *, tries: int, seconds: float
) -> EvocodecError:
    """Return the error that says what to do about a call that failed for good."""
    where, said = endpoint.shown_url, failure.message
    match failure.name:
        case CallOutcome.CONTEXT_OVERFLOW:
            return _too_long(failure, endpoint)
        case CallOutcome.AUTHENTICATION:
            return ConfigError(
                f"{where} refused the key ({said}): set {endpoint.setting('api_key')} "
                f"({endpoint.variable('api_key')}) to one that may use {endpoint.model}"
            )
        case CallOutcome.NOT_FOUND:
            return ConfigError(
                f"{where} does not know model {endpoint.model!r} or has no /chat/completions "
                f"({said}): check {endpoint.setting('model')} and {endpoint.setting('base_url')} "
                f"(it usually ends in /v1)"
            )
        case CallOutcome.BAD_REQUEST:
            return ConfigError(
                f"{where} rejected the request ({said}): {_of_request(failure, endpoint)}"
            )
        case CallOutcome.QUOTA:
            return EndpointUnavailable(
                f"the account at {where} has nothing left to pay with ({said}). See the provider's "
                f"page on billing, or set another {endpoint.setting('api_key')} "
                f"({endpoint.variable('api_key')}), then resume the run"
            )
        case _:
            now = _of_trouble(failure, endpoint)
            times = f"{tries} {'try' if tries == 1 else 'tries'}"
            return EndpointUnavailable(
                f"the model endpoint {where} gave no usable answer in {times} over "
                f"{seconds:.1f} s; the last ended with {failure.name}: {said}. {now}, "
                f"then resume the run"
            )


def _too_long(failure: CallFailed, endpoint: Endpoint) -> CandidateFailure:
    context = f" of {failure.sizes.limit:,} tokens" if failure.sizes.limit else ""
    return CandidateFailure(
        FailureKind.NO_CODE,
        f"The prompt does not fit into the context{context} of {endpoint.model} together with a "
        f"reply; lower {endpoint.setting('max_tokens')}, use a model with a longer context, or "
        f"start from a shorter program.",
        detail=failure.message,
    )


def _of_request(failure: CallFailed, endpoint: Endpoint) -> str:
    facts = failure.facts
    name = facts.parameter.split(".")[0] if facts else ""
    known = {
        "temperature": "temperature",
        "max_tokens": "max_tokens",
        "max_completion_tokens": "max_tokens",
        "stream": "stream",
        "stream_options": "stream",
        "messages": "system_role",
    }
    if name in known:
        return f"check {endpoint.setting(known[name])}"
    names = ("model", "temperature", "max_tokens", "extra_body")
    return f"check {', '.join(map(endpoint.setting, names[:-1]))} and {endpoint.setting(names[-1])}"


def _of_trouble(failure: CallFailed, endpoint: Endpoint) -> str:
    match failure.name:
        case CallOutcome.RATE_LIMITED:
            return (
                f"Set model.max_concurrent=1 or raise model.gone_after_seconds to wait longer, or "
                f"use a key with a higher limit ({endpoint.setting('api_key')})"
            )
        case CallOutcome.TIMEOUT:
            return (
                f"See that it runs; for a slow model raise {endpoint.setting('timeout_seconds')} "
                f"and {endpoint.setting('idle_seconds')}, or lower {endpoint.setting('max_tokens')}"
            )
        case _:
            return f"See that it runs and is reachable ({endpoint.setting('base_url')})"
