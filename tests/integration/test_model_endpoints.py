"""Odd endpoints, each a real HTTP server: what the gateway learns of them, and what it books."""

import logging
import threading
from typing import Any

import pytest

from evocodec.domain.errors import (
    BudgetExhausted,
    CandidateFailure,
    ConfigError,
    EndpointUnavailable,
)
from evocodec.domain.events import ModelNoted
from evocodec.domain.vocabulary import CallOutcome, ModelRole, NoteSubject
from evocodec.models.contract import ChatMessage
from tests.integration.test_model_gateway import Bench, bench
from tests.support import scripted_model as scripted

PRICES: dict[str, Any] = {
    "price_input_usd_per_million": 0.0,
    "price_output_usd_per_million": 1000.0,
}


def notes(lab: Bench, subject: NoteSubject) -> list[ModelNoted]:
    events = (event for _, event in lab.ledger.events("r"))
    return [e for e in events if isinstance(e, ModelNoted) and e.subject is subject]


def insists(handler: Any, asked: scripted.Asked) -> None:
    """A model that refuses one parameter after another, as OpenAI's reasoning models do."""
    body = asked.body
    if "max_tokens" in body:
        refusal = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        scripted.fails(400, message=refusal)(handler, asked)
    elif "temperature" in body:
        refusal = "Unsupported value: 'temperature' does not support 0.7 with this model."
        scripted.fails(400, message=refusal)(handler, asked)
    elif "stream_options" in body:
        scripted.fails(422, message="stream_options: Extra inputs are not permitted")(
            handler, asked
        )
    elif any(message["role"] == "system" for message in body["messages"]):
        scripted.fails(500, message="jinja2: System role not supported")(handler, asked)
    elif body["max_completion_tokens"] > 64:
        refusal = "max_completion_tokens is too large: 100. This model supports at most 64"
        scripted.fails(400, message=refusal.replace("64", "300"))(handler, asked)
    else:
        scripted.says("Here.")(handler, asked)


def test_what_a_model_refuses_is_left_out_or_renamed_once_and_remembered() -> None:
    with bench([insists], max_tokens=400) as (lab, endpoint):
        endpoint.script = [_with_limit(300)]
        assert lab.chat("c0001").text == "Here."
        first = len(endpoint.requests)
        assert lab.chat("c0002").text == "Here."
        assert first == 6
        assert len(endpoint.requests) == first + 1
        told = " ".join(note.text for note in notes(lab, NoteSubject.LEARNT))
        (call, _) = lab.calls
    for setting in ("token_limit_name=max_completion_tokens", "temperature=unset"):
        assert f"model.{setting}" in told
    assert "model.system_role=no" in told
    assert "model.max_tokens=300" in told
    assert (call.outcome, call.completion_tokens) == ("ok", 2)  # refusals cost nothing
    last = endpoint.requests[-1].body
    assert set(last) == {"model", "messages", "stream", "max_completion_tokens"}
    assert last["max_completion_tokens"] == 300
    assert [message["role"] for message in last["messages"]] == ["user"]
    assert last["messages"][0]["content"].startswith("You are a coder.")


def _with_limit(most: int) -> scripted.Behaviour:
    def behave(handler: Any, asked: scripted.Asked) -> None:
        within = asked.body.get("max_completion_tokens", most + 1) <= most
        if within and "temperature" not in asked.body and "stream_options" not in asked.body:
            roles = {message["role"] for message in asked.body["messages"]}
            if "system" not in roles:
                scripted.says("Here.")(handler, asked)
                return
        insists(handler, asked)

    return behave


def test_a_parameter_that_stays_refused_ends_the_run_with_its_setting() -> None:
    script = [scripted.fails(400, message="temperature is not supported", code="x")]
    with bench(script) as (lab, endpoint):
        with pytest.raises(ConfigError, match=r"model\.temperature"):
            lab.chat()
        assert len(endpoint.requests) == 2


def test_settings_say_what_is_sent() -> None:
    given: dict[str, Any] = {
        "temperature": "unset",
        "token_limit_name": "none",
        "system_role": "no",
        "stream": False,
        "extra_body": {"reasoning_effort": "low", "options": {"num_ctx": 32768}},
        "headers": {"api-key": "azure-key", "X-Title": "evocodec"},
    }
    with bench(["ok"], **given) as (lab, endpoint):
        lab.chat()
        (asked,) = endpoint.requests
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert (headers["api-key"], headers["x-title"]) == ("azure-key", "evocodec")
    assert set(asked.body) == {"model", "messages", "reasoning_effort", "options"}
    assert [message["role"] for message in asked.body["messages"]] == ["user"]


def test_a_header_of_the_settings_replaces_our_own() -> None:
    with bench(["ok"], headers={"authorization": "Basic abc"}) as (lab, endpoint):
        lab.chat()
        (asked,) = endpoint.requests
    assert [v for n, v in asked.headers.items() if n.lower() == "authorization"] == ["Basic abc"]


def test_parameters_of_the_url_go_with_each_request() -> None:
    with bench(["ok"]) as (lab, endpoint):
        url = f"{endpoint.base_url}?api-version=2024-10-21"
    with bench(["ok"]) as (_, endpoint):
        url = f"{endpoint.base_url}?api-version=2024-10-21"
        with bench(["no"], base_url=url) as (lab, _):
            lab.chat()
        (asked,) = endpoint.requests
    assert asked.path == "/v1/chat/completions?api-version=2024-10-21"


def test_a_streamed_reply_is_put_together_and_counted() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
    with bench([scripted.streams("He", "llo", ".", usage=usage)]) as (lab, endpoint):
        assert lab.chat().text == "Hello."
        (call,) = lab.calls
    assert (call.prompt_tokens, call.completion_tokens) == (20, 9)
    assert endpoint.requests[0].body["stream_options"] == {"include_usage": True}


def test_a_slow_stream_is_not_dead_and_a_silent_one_is() -> None:
    pieces = ["word "] * 12
    slow = scripted.streams(*pieces, pause_seconds=0.2)
    with bench([slow], idle_seconds=2.0, timeout_seconds=0) as (lab, _):
        assert lab.chat().text == "word " * 12
    silent = scripted.streams("begins", "never", pause_seconds=30)
    with (
        bench([silent], idle_seconds=0.4, timeout_seconds=0, max_retries=0) as (lab, _),
        pytest.raises(EndpointUnavailable, match=r"no sign of life for 0\.4 s"),
    ):
        lab.chat()


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (scripted.streams("half of", end=b""), "connection"),
        (scripted.streams("half", end=b'data: {"error": {"code": 502, "message": "x"}}\n\n'),
         "server_error"),
        (scripted.streams("half", end=b"data: {not json}\n\n"), "malformed"),
        (scripted.raw(b"data: [DONE]\n\n", "text/event-stream"), "malformed"),
    ],
)  # fmt: skip
def test_a_stream_that_breaks_off_is_no_reply_and_may_have_been_paid_for(
    behaviour: scripted.Behaviour, outcome: str
) -> None:
    with bench([behaviour], max_retries=0) as (lab, _):
        with pytest.raises(EndpointUnavailable):
            lab.chat()
        (call,) = lab.calls
    assert (call.outcome, call.completion_tokens) == (outcome, 100)


def test_an_answer_without_a_reply_is_paid_for_by_its_own_count() -> None:
    body = {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 70}}
    with bench([scripted.answers(200, body), "Here."], **PRICES) as (lab, _):
        assert lab.chat().text == "Here."
        (call,) = lab.calls
    assert call.completion_tokens == 70 + 2
    assert call.cost_usd == pytest.approx(0.072)


def test_the_cost_that_a_proxy_states_in_a_header_is_used() -> None:
    body = {
        "choices": [{"message": {"content": "Here."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 2},
    }
    script = [scripted.answers(200, body, x_litellm_response_cost="0.0125")]
    with bench(script) as (lab, _):
        lab.chat()
        assert lab.calls[0].cost_usd == 0.0125


def test_a_page_in_place_of_an_answer_costs_nothing() -> None:
    page = scripted.raw(b"<html><title>Sign in</title></html>", "text/html")
    with bench([page], max_retries=1) as (lab, _):
        with pytest.raises(EndpointUnavailable, match="a web page: Sign in"):
            lab.chat()
        assert lab.calls[0].completion_tokens == 0


@pytest.mark.parametrize(
    ("code", "error", "tries"),
    [(429, EndpointUnavailable, 3), (401, ConfigError, 1), (402, EndpointUnavailable, 1)],
)
def test_an_error_that_comes_with_status_200_is_an_error(
    code: int, error: type[Exception], tries: int
) -> None:
    body = {"error": {"code": code, "message": "no"}}
    with bench([scripted.answers(200, body)]) as (lab, endpoint):
        with pytest.raises(error):
            lab.chat()
        assert len(endpoint.requests) == tries


def test_a_reply_is_asked_shorter_where_it_did_not_fit_beside_the_prompt() -> None:
    overflow = (
        "This model's maximum context length is 4096 tokens. However, you requested 16020 tokens "
        "(20 in the messages, 16000 in the completion)."
    )
    script: list[scripted.Behaviour | str] = [scripted.fails(400, message=overflow), "Here."]
    with bench(script, max_tokens=16_000) as (lab, endpoint):
        assert lab.chat().text == "Here."
    assert endpoint.requests[0].body["max_tokens"] == 16_000
    assert 3_900 < endpoint.requests[1].body["max_tokens"] < 4_096


def test_a_prompt_that_is_too_long_names_the_setting_to_lower() -> None:
    overflow = "prompt is too long: 213462 tokens > 200000 maximum"
    with (
        bench([scripted.fails(400, message=overflow)]) as (lab, _),
        pytest.raises(CandidateFailure, match=r"200,000 tokens .* lower model\.max_tokens"),
    ):
        lab.chat()


def test_the_size_of_a_reply_follows_from_the_program() -> None:
    with bench(["ok"], max_tokens=0, timeout_seconds=0) as (lab, endpoint):
        lab.chat()
        long = (ChatMessage("user", "x = 1\n" * 14_000),)  # 84,000 characters
        lab.gateway.chat(ModelRole.CODER, long, candidate_id="c2", attempt=0, template_sha256="")
        lab.gateway.chat(ModelRole.REVIEWER, long, candidate_id="c2", attempt=0, template_sha256="")
    sizes = [asked.body["max_tokens"] for asked in endpoint.requests]
    assert sizes[0] == sizes[2] == 16_000
    assert 35_000 < sizes[1] < 40_000


def test_a_prompt_that_the_server_cut_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    cut = scripted.answers(
        200,
        {
            "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 2048, "completion_tokens": 1},
        },
    )
    long = (ChatMessage("user", "word " * 6000),)
    with caplog.at_level(logging.WARNING), bench([cut]) as (lab, _):
        for name in ("c1", "c2"):
            lab.gateway.chat(
                ModelRole.CODER, long, candidate_id=name, attempt=0, template_sha256=""
            )
        (note,) = notes(lab, NoteSubject.LEARNT)
        assert lab.calls[0].prompt_tokens > 9_000
    assert "2,048 tokens of a prompt of about 10," in note.text
    assert "num_ctx" in note.text


def test_a_call_without_a_sign_of_life_is_given_up_although_tries_are_left() -> None:
    busy = scripted.fails(503, Retry_After="0.4")
    with bench([busy], max_retries=50, gone_after_seconds=1.0) as (lab, endpoint):
        with pytest.raises(EndpointUnavailable):
            lab.chat()
        assert 2 <= len(endpoint.requests) <= 4


def test_what_is_waited_for_is_recorded_before_the_wait() -> None:
    slow_down = scripted.fails(429, message="slow down", Retry_After="2")
    script: list[scripted.Behaviour | str] = [slow_down, "Here."]
    with bench(script) as (lab, _):
        lab.chat()
        (note,) = notes(lab, NoteSubject.WAITING)
    assert (note.candidate_id, note.seconds) == ("c0001", 2.0)
    assert note.text == "rate limit: slow down"


def test_calls_under_way_are_waited_for_before_a_budget_ends_a_run() -> None:
    at_once = threading.Barrier(2)

    def answers(handler: Any, asked: scripted.Asked) -> None:
        at_once.wait(60)
        scripted.says("word " * 16)(handler, asked)

    # Each call may cost 0.1 dollars and costs 0.021: two fit at once, and five in all.
    with bench([answers, answers, "word " * 16], budget_usd=0.205, **PRICES) as (lab, _):
        spent_at_the_end: list[float] = []

        def work(number: int) -> None:
            for call in range(100):
                try:
                    lab.chat(f"c{number}{call:03d}")
                except BudgetExhausted:
                    spent_at_the_end.append(sum(each.cost_usd for each in lab.calls))
                    return

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = sum(call.cost_usd for call in lab.calls)
        outcomes = {call.outcome for call in lab.calls}
    assert len(spent_at_the_end) == 4
    assert 0.105 < min(spent_at_the_end) <= spent <= 0.205
    assert outcomes == {CallOutcome.OK}


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with bench(["stolen"]) as (_, other):
        target = f"{other.base_url}/chat/completions"
        with (
            bench([scripted.answers(307, {}, Location=target)]) as (lab, _),
            pytest.raises(ConfigError, match=r"it redirects to 127\.0\.0\.1.*base_url"),
        ):
            lab.chat()
        assert other.requests == []


def test_parts_of_a_key_in_an_error_are_hidden() -> None:
    said = "Incorrect API key provided: sk-very-s****et-key. (sk-very-secr and ery-secret-key)"
    with (
        bench([scripted.fails(401, message=said)]) as (lab, _),
        pytest.raises(ConfigError) as raised,
    ):
        lab.chat()
    for part in ("sk-very", "ery-secr", "et-key"):
        assert part not in str(raised.value)
