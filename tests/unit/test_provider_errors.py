"""Errors of providers as they word them: what each is, and how long it asks to wait."""

import json
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from evocodec.domain.vocabulary import CallOutcome
from evocodec.models.failure import ErrorFacts
from evocodec.models.provider_errors import error_from, error_in_answer, read_error, retry_after
from evocodec.models.refusals import Change, apply, refused

SEEN = json.loads((Path(__file__).parents[1] / "data" / "provider_errors.json").read_text())


def text_of(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


@pytest.mark.parametrize(("name", "status", "body", "sizes"), SEEN)
def test_an_error_is_known_by_its_own_words(
    name: str, status: int, body: Any, sizes: list[int]
) -> None:
    failed = error_from(status, {}, text_of(body))
    assert (failed.name, [failed.sizes.limit, failed.sizes.prompt]) == (name, sizes)
    assert failed.retriable is (name in ("rate_limited", "server_error"))
    assert failed.message
    assert "<title>" not in failed.message


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ({"code": 429, "message": "Rate limit exceeded: free-models-per-min"}, "rate_limited"),
        ({"code": 401, "message": "User not found."}, "authentication"),
        ({"code": "400", "message": "maximum context length is 4096 tokens"}, "context_overflow"),
        ({"code": 502, "message": "Provider returned error"}, "server_error"),
        ({"code": "insufficient_quota", "message": "no"}, "quota"),
        ({"type": "overloaded_error", "message": "Overloaded"}, "server_error"),
        ({"message": "model_not_found"}, "not_found"),
        ("upstream request timeout", "server_error"),
        ("Invalid API key", "authentication"),
    ],
)
def test_an_error_with_status_200_is_what_its_status_would_have_been(
    error: object, name: str
) -> None:
    answer = {"error": error}
    failed = error_in_answer(answer, json.dumps(answer))
    assert failed is not None
    assert failed.name == name


def test_a_reply_is_no_error() -> None:
    assert error_in_answer({"choices": [], "error": None}, "") is None
    assert error_in_answer({"choices": [], "message": "hello"}, "") is None


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after": "0.5"}, "", 0.5),
        ({"retry-after": "-3"}, "", 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, "", 1.5),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "1e999"}, "", None),
        ({"retry-after": "Wed, 99 Foo 9999999"}, "", None),
        ({}, "Please try again in 1.2s. Visit …", 1.2),
        ({}, "Please try again in 6m12.5s.", 372.5),
        ({}, "try again in 900ms", 0.9),
        ({}, "Please retry after 13 seconds.", 13.0),
        ({}, "Please retry in 34.07s.", 34.07),
        ({}, "please wait 2 minutes", 120.0),
        ({}, "Try again in 1h2m3s", 3723.0),
        ({}, '{"details": [{"@type": "RetryInfo", "retryDelay": "34s"}]}', 34.0),
        ({}, '{"error": {"retry_after": 3}}', 3.0),
        ({"x-ratelimit-reset-tokens": "1m2s", "x-ratelimit-remaining-tokens": "0"}, "", 62.0),
        ({"x-ratelimit-reset-tokens": "1m2s", "x-ratelimit-remaining-tokens": "9"}, "", None),
        ({"ratelimit-reset": "34"}, "", 34.0),
        ({}, "try again later", None),
        ({}, "you have 5 tries", None),
    ],
)
def test_the_pause_that_a_server_asks_for_is_understood_in_every_form(
    headers: dict[str, str], body: str, seconds: float | None
) -> None:
    assert retry_after(headers, body, 429) == (None if seconds is None else pytest.approx(seconds))


def test_a_pause_may_end_at_a_date() -> None:
    dated = retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}, "", 503)
    assert dated is not None
    assert 30 < dated <= 60
    reset = retry_after({"x-ratelimit-reset": str(int((time.time() + 60) * 1000))}, "", 429)
    assert reset is not None
    assert 30 < reset <= 60


PAYLOAD = {
    "model": "m",
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
    "temperature": 0.7,
    "max_tokens": 32000,
    "stream": True,
    "stream_options": {"include_usage": True},
    "reasoning_effort": "low",
}
USE_OTHER = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    ("body", "change"),
    [
        ({"message": USE_OTHER, "param": "max_tokens"}, Change("rename", "max_tokens")),
        ({"message": USE_OTHER}, Change("rename", "max_tokens")),
        (
            {
                "message": "max_tokens is too large: 32000. This model supports at most 16384 "
                "completion tokens, whereas you provided 32000.",
                "param": "max_tokens",
            },
            Change("lower", "max_tokens", 16384),
        ),
        (
            {"message": "max_tokens: 32000 > 8192, which is the maximum allowed number of output"},
            Change("lower", "max_tokens", 8192),
        ),
        (
            {"message": "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"},
            Change("lower", "max_tokens", 8192),
        ),
        (
            {
                "message": "it has a maxOutputTokens value of 32000 but the supported range is "
                "from 1 (inclusive) to 8193 (exclusive)"
            },
            Change("lower", "max_tokens", 8192),
        ),
        (
            {
                "message": "Unsupported value: 'temperature' does not support 0.7 with this model. "
                "Only the default (1) value is supported.",
                "param": "temperature",
            },
            Change("drop", "temperature"),
        ),
        (
            {"message": "invalid temperature: only 1 is allowed for this model"},
            Change("drop", "temperature"),
        ),
        ({"message": "`temperature` is deprecated for this model."}, Change("drop", "temperature")),
        ({"message": "Unknown field: stream_options"}, Change("drop", "stream_options")),
        (
            {
                "message": "Your organization must be verified to stream this model.",
                "param": "stream",
            },
            Change("drop", "stream"),
        ),
        ({"message": "Streaming is not supported"}, Change("drop", "stream")),
        ({"message": "System role not supported"}, Change("fold", "role")),
        (
            {"message": "Conversation roles must alternate user/assistant/user/assistant/..."},
            Change("fold", "role"),
        ),
        (
            {
                "message": "Unsupported value: 'messages[0].role' does not support 'system' with "
                "this model.",
                "param": "messages[0].role",
            },
            Change("fold", "role"),
        ),
        ({"message": "Developer instruction is not enabled for gemma"}, Change("fold", "role")),
        (
            {"message": "Unrecognized request argument supplied: reasoning_effort"},
            Change("drop", "reasoning_effort"),
        ),
        ({"message": "something else is wrong"}, None),
        ({"message": "the model is not supported"}, None),
    ],
)
def test_a_refused_parameter_is_told_by_the_error(
    body: dict[str, str], change: Change | None
) -> None:
    assert refused(read_error(400, json.dumps({"error": body})), PAYLOAD) == change


def test_a_field_that_a_schema_refuses_is_told_by_its_place() -> None:
    detail = {"loc": ["body", "stream_options"], "msg": "Extra inputs", "type": "extra_forbidden"}
    facts = read_error(422, json.dumps({"detail": [detail]}))
    assert refused(facts, PAYLOAD) == Change("drop", "stream_options")


def test_changes_are_applied_to_a_request_and_leave_the_rest_alone() -> None:
    changes = (
        Change("rename", "max_tokens"),
        Change("lower", "max_tokens", 4096),
        Change("drop", "stream"),
        Change("fold", "role"),
    )
    assert apply(changes, PAYLOAD) == {
        "model": "m",
        "messages": [{"role": "user", "content": "S\n\nU"}],
        "temperature": 0.7,
        "max_completion_tokens": 4096,
        "reasoning_effort": "low",
    }


def test_the_model_and_the_messages_are_never_left_out() -> None:
    for name in ("model", "messages"):
        facts = ErrorFacts(400, f"Unsupported parameter: '{name}'", (), name)
        assert refused(facts, PAYLOAD) is None


def test_every_outcome_of_an_error_is_one_without_a_reply() -> None:
    assert not [CallOutcome(name) for name, *_ in SEEN if CallOutcome(name).received]
