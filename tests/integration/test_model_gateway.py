"""The gateway against a real HTTP server that misbehaves in every way that servers do."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import (
    BudgetExhausted,
    CandidateFailure,
    ConfigError,
    EndpointUnavailable,
    EvocodecError,
    FailureKind,
    UserError,
)
from evocodec.domain.events import CandidateOpened, ModelCalled
from evocodec.domain.vocabulary import (
    CallOutcome,
    ModelRole,
)
from evocodec.models.contract import ChatMessage, Reply
from evocodec.models.endpoint import endpoint_for
from evocodec.models.gateway import ModelGateway
from evocodec.models.replay import ReplayGateway, replay_from
from evocodec.store.memory import MemoryBlobStore, MemoryLedger
from tests.support import scripted_model as scripted

MESSAGES = (
    ChatMessage("system", "You are a coder."),
    ChatMessage("user", "Write a codec, please."),
)
KEY = "sk-very-secret-key"


@dataclass
class Bench:
    """A gateway and the stores behind it."""

    gateway: ModelGateway
    ledger: MemoryLedger
    blobs: MemoryBlobStore
    stop: threading.Event

    def chat(
        self, candidate_id: str = "c0001", role: ModelRole = ModelRole.CODER, attempt: int = 0
    ) -> Reply:
        return self.gateway.chat(
            role, MESSAGES, candidate_id=candidate_id, attempt=attempt, template_sha256="t" * 64
        )

    @property
    def calls(self) -> list[ModelCalled]:
        return [e for _, e in self.ledger.events("r") if isinstance(e, ModelCalled)]


def lower(asked: scripted.Asked) -> dict[str, str]:
    return {name.lower(): value for name, value in asked.headers.items()}


def settings_for(endpoint: scripted.Endpoint, **changes: Any) -> ModelSettings:
    quick: dict[str, Any] = {
        "model": "tiny",
        "base_url": endpoint.base_url,
        "api_key": KEY,
        "max_tokens": 100,
        "timeout_seconds": 5.0,
        "max_retries": 2,
        "backoff_seconds": 0.02,
        "gone_after_seconds": 20.0,
    }
    return ModelSettings.model_validate({**quick, **changes})


@contextmanager
def bench(
    script: Sequence[scripted.Behaviour | str],
    *,
    ledger: MemoryLedger | None = None,
    blobs: MemoryBlobStore | None = None,
    **changes: Any,
) -> Iterator[tuple[Bench, scripted.Endpoint]]:
    ledger, blobs, stop = ledger or MemoryLedger(), blobs or MemoryBlobStore(), threading.Event()
    with scripted.scripted_endpoint(script) as endpoint:
        gateway = ModelGateway(
            settings_for(endpoint, **changes),
            run_id="r",
            ledger=ledger,
            blobs=blobs,
            record=ledger.record,
            stop=stop,
        )
        try:
            yield Bench(gateway, ledger, blobs, stop), endpoint
        finally:
            gateway.close()


def test_a_reply_is_returned_and_recorded_with_hashes_tokens_and_cost() -> None:
    prices: dict[str, Any] = {
        "price_input_usd_per_million": 2.0,
        "price_output_usd_per_million": 10.0,
    }
    with bench(["Hello."], **prices) as (lab, endpoint):
        assert lab.chat() == Reply("Hello.", CallOutcome.OK, "tiny")
        (call,) = lab.calls
        (asked,) = endpoint.requests
    assert asked.path == "/v1/chat/completions"
    assert asked.body["messages"] == [
        {"role": "system", "content": "You are a coder."},
        {"role": "user", "content": "Write a codec, please."},
    ]
    assert (asked.body["model"], asked.body["max_tokens"]) == ("tiny", 100)
    assert call.key == "c0001/model/coder/0"
    assert lab.blobs.get(call.reply_sha256) == b"Hello."
    assert b"Write a codec, please." in lab.blobs.get(call.prompt_sha256)
    assert call.prompt_tokens > 0
    assert call.completion_tokens > 0
    expected = (2.0 * call.prompt_tokens + 10.0 * call.completion_tokens) / 1e6
    assert call.cost_usd == pytest.approx(expected)


def test_tokens_are_estimated_when_the_server_does_not_count() -> None:
    with bench([scripted.says("word " * 60, usage=False)]) as (lab, _):
        lab.chat()
        (call,) = lab.calls
    assert 10 <= call.prompt_tokens <= 60
    assert 50 <= call.completion_tokens <= 150


@pytest.mark.parametrize(
    ("behaviour", "outcome", "text"),
    [
        (scripted.empty(), CallOutcome.EMPTY, ""),
        (scripted.says("  \n"), CallOutcome.EMPTY, "  \n"),
        (scripted.says(None), CallOutcome.EMPTY, ""),
        (scripted.tool_call_only(), CallOutcome.EMPTY, ""),
        (scripted.refusal(), CallOutcome.REFUSED, "I'm sorry, but I can't help with that."),
        (scripted.filtered(), CallOutcome.REFUSED, ""),
        (scripted.says("", finish="length"), CallOutcome.TRUNCATED, ""),
    ],
)
def test_a_worthless_reply_is_received_once_and_named(
    behaviour: scripted.Behaviour, outcome: CallOutcome, text: str
) -> None:
    with bench([behaviour]) as (lab, endpoint):
        assert lab.chat() == Reply(text, outcome, "tiny")
        assert [call.outcome for call in lab.calls] == [outcome]
        assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("behaviour", "outcome", "tries"),
    [
        (scripted.fails(500), "server_error", 3),
        (scripted.fails(503, Retry_After="0"), "server_error", 3),
        (scripted.fails(429), "rate_limited", 3),
        (scripted.fails(429, code="insufficient_quota", message="insufficient_quota"), "quota", 1),
        (scripted.drops(), "connection", 3),
        (scripted.cuts_short(), "connection", 3),
        (scripted.raw(b"<html>busy</html>", "text/html"), "malformed", 3),
        (scripted.raw(b"{not json"), "malformed", 3),
        (scripted.raw(b"{}"), "malformed", 3),
        (scripted.raw(b'{"choices": null}'), "malformed", 3),
        (scripted.raw(b'{"choices": []}'), "malformed", 3),
        (scripted.raw(b'{"choices": [{"message": 5}]}'), "malformed", 3),
        (scripted.raw(b"[1, 2]"), "malformed", 3),
    ],
)
def test_an_endpoint_that_gives_no_answer_stops_the_run_after_bounded_tries(
    behaviour: scripted.Behaviour, outcome: str, tries: int
) -> None:
    with bench([behaviour]) as (lab, endpoint):
        with pytest.raises(EndpointUnavailable, match="then resume the run"):
            lab.chat()
        (call,) = lab.calls
        assert (call.outcome, call.tries, len(endpoint.requests)) == (outcome, tries, tries)
        assert not call.received


@pytest.mark.parametrize(
    "behaviour",
    [scripted.slow(900), scripted.drips(900), scripted.drips(900, in_headers=True)],
    ids=["silent", "dripping body", "dripping headers"],
)
def test_a_time_out_really_times_out(behaviour: scripted.Behaviour) -> None:
    with bench([behaviour], timeout_seconds=0.6, max_retries=1) as (lab, endpoint):
        with pytest.raises(EndpointUnavailable, match=r"no complete answer within 0\.6 s"):
            lab.chat()
        assert len(endpoint.requests) == 2
        assert lab.calls[0].outcome == "timeout"


def test_nobody_listening_is_an_unavailable_endpoint() -> None:
    with bench(["gone"]) as (lab, _):
        pass
    gateway = ModelGateway(
        ModelSettings(
            model="tiny", base_url="http://127.0.0.1:9/v1", max_retries=1, backoff_seconds=0.01
        ),
        run_id="r", ledger=lab.ledger, blobs=lab.blobs, record=lab.ledger.record,
    )  # fmt: skip
    try:
        with pytest.raises(EndpointUnavailable, match=r"2 tries .* connection"):
            gateway.chat(ModelRole.CODER, MESSAGES, candidate_id="c", attempt=0, template_sha256="")
    finally:
        gateway.close()


@pytest.mark.parametrize(
    ("behaviour", "setting"),
    [
        (scripted.fails(401, message=f"bad key {KEY}"), "model.api_key"),
        (scripted.fails(403), "model.api_key"),
        (scripted.fails(404, message="no such model"), "model.model"),
        (scripted.fails(422), "model.max_tokens"),
    ],
)
def test_a_rejected_request_is_not_repeated_and_names_the_setting(
    behaviour: scripted.Behaviour, setting: str
) -> None:
    with bench([behaviour]) as (lab, endpoint):
        with pytest.raises(ConfigError) as raised:
            lab.chat()
        assert setting in str(raised.value)
        assert KEY not in str(raised.value)
        assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 9000.",
        "Requested tokens (9000) exceed context window of 4096",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ],
)
def test_a_prompt_that_is_too_long_is_the_candidates_failure(message: str) -> None:
    with bench([scripted.fails(400, message=message)]) as (lab, endpoint):
        with pytest.raises(CandidateFailure, match="does not fit into the context") as raised:
            lab.chat()
        assert raised.value.kind is FailureKind.NO_CODE
        assert len(endpoint.requests) == 1


def test_trouble_that_passes_costs_retries_only() -> None:
    script: list[scripted.Behaviour | str] = [scripted.fails(500), scripted.drops(), "Here."]
    with bench(script) as (lab, _):
        assert lab.chat().text == "Here."
        assert [(call.outcome, call.tries) for call in lab.calls] == [("ok", 3)]


def test_retry_after_is_honoured() -> None:
    with bench([scripted.fails(429, Retry_After="0.7"), "Here."]) as (lab, endpoint):
        lab.chat()
        first, second = endpoint.requests
    assert second.at - first.at >= 0.7


def test_a_wait_longer_than_patience_ends_the_run_at_once() -> None:
    with (
        bench([scripted.fails(429, Retry_After="3600")]) as (lab, _),
        pytest.raises(EndpointUnavailable, match="rate_limited"),
    ):
        lab.chat()


def test_a_recorded_reply_is_returned_again_without_a_call() -> None:
    ledger, blobs = MemoryLedger(), MemoryBlobStore()
    with bench(["First."], ledger=ledger, blobs=blobs) as (lab, _):
        assert not lab.chat().recorded
    with bench(["Second."], ledger=ledger, blobs=blobs) as (lab, endpoint):
        assert lab.chat() == Reply("First.", CallOutcome.OK, "tiny", recorded=True)
        assert endpoint.requests == []
        assert lab.chat(attempt=1).text == "Second."


def test_a_call_that_failed_is_made_again_on_resume_and_then_recorded() -> None:
    ledger, blobs = MemoryLedger(), MemoryBlobStore()
    with (
        bench([scripted.fails(500)], ledger=ledger, blobs=blobs) as (lab, _),
        pytest.raises(EndpointUnavailable),
    ):
        lab.chat()
    with bench(["Back."], ledger=ledger, blobs=blobs) as (lab, _):
        assert lab.chat().text == "Back."
    with bench(["Never."], ledger=ledger, blobs=blobs) as (lab, endpoint):
        assert lab.chat().text == "Back."
        assert endpoint.requests == []


def test_no_call_starts_that_the_token_budget_does_not_cover() -> None:
    with bench(["x" * 400], budget_tokens=330) as (lab, endpoint):
        lab.chat("c0001")
        with pytest.raises(BudgetExhausted, match=r"of 330 tokens .* model\.budget_tokens"):
            [lab.chat(f"c{number:04d}") for number in range(2, 9)]
        spent = sum(call.prompt_tokens + call.completion_tokens for call in lab.calls)
        assert len(endpoint.requests) == len(lab.calls) >= 1
    assert spent <= 330


def test_a_budget_holds_over_a_resume() -> None:
    ledger, blobs = MemoryLedger(), MemoryBlobStore()
    with bench(["x" * 400], ledger=ledger, blobs=blobs) as (lab, _):
        lab.chat("c0001")
        lab.chat("c0002")
    with bench(["y"], ledger=ledger, blobs=blobs, budget_tokens=330) as (lab, endpoint):
        with pytest.raises(BudgetExhausted):
            lab.chat("c0003")
        assert endpoint.requests == []


def test_a_money_budget_counts_calls_under_way() -> None:
    prices: dict[str, Any] = {
        "price_input_usd_per_million": 0.0,
        "price_output_usd_per_million": 1000.0,
    }
    with bench([scripted.slow(1.0)], budget_usd=0.15, max_retries=0, **prices) as (lab, _):
        errors: list[str] = []

        def call(candidate_id: str) -> None:
            try:
                lab.chat(candidate_id)
            except EvocodecError as error:
                errors.append(type(error).__name__)

        threads = [threading.Thread(target=call, args=(f"c{n:04d}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors.count("BudgetExhausted") == 3


def test_calls_of_many_threads_run_side_by_side_within_the_bound() -> None:
    flying, peak, lock = 0, 0, threading.Lock()

    def count(handler: Any, asked: scripted.Asked) -> None:
        nonlocal flying, peak
        with lock:
            flying += 1
            peak = max(peak, flying)
        handler.rest(0.15)
        with lock:
            flying -= 1
        scripted.says(f"for {asked.headers.get('content-length')}")(handler, asked)

    with bench([count], max_concurrent=3) as (lab, endpoint):
        threads = [
            threading.Thread(target=lab.chat, args=(f"c{number:04d}",)) for number in range(9)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(lab.calls) == len(endpoint.requests) == 9
    assert 2 <= peak <= 3


def test_roles_have_models_and_temperatures_of_their_own() -> None:
    own = {"model": "big", "temperature": 0.1, "max_tokens": 17}
    with bench(["ok"], planner=own) as (lab, endpoint):
        lab.chat(role=ModelRole.PLANNER)
        lab.chat(role=ModelRole.CODER)
        planner, coder = endpoint.requests
    assert [planner.body[name] for name in ("model", "temperature", "max_tokens")] == [
        "big",
        0.1,
        17,
    ]
    assert [coder.body[name] for name in ("model", "temperature", "max_tokens")] == [
        "tiny",
        0.7,
        100,
    ]


def test_a_role_goes_to_its_own_endpoint_with_its_own_key_limits_and_prices() -> None:
    ledger = MemoryLedger()
    with scripted.scripted_endpoint(["from the other one"]) as other:
        own = {
            "base_url": other.base_url,
            "api_key": "sk-of-the-coder",
            "price_output_usd_per_million": 1e6,
        }
        with bench(["from the common one"], ledger=ledger, coder=own) as (lab, common):
            assert lab.chat(role=ModelRole.CODER).text == "from the other one"
            assert lab.chat(role=ModelRole.PLANNER).text == "from the common one"
            (coder,), (planner,) = other.requests, common.requests
            costs = {call.role: call.cost_usd for call in lab.calls}
    assert lower(coder)["authorization"] == "Bearer sk-of-the-coder"
    assert lower(planner)["authorization"] == f"Bearer {KEY}"
    assert costs[ModelRole.CODER] > 0
    assert costs[ModelRole.PLANNER] == 0


def test_the_common_key_is_not_sent_to_a_roles_own_endpoint() -> None:
    with (
        scripted.scripted_endpoint(["ok"]) as other,
        bench(["ok"], coder={"base_url": other.base_url}) as (lab, _),
    ):
        lab.chat(role=ModelRole.CODER)
        (asked,) = other.requests
    assert KEY not in str(dict(asked.headers))


def test_a_role_has_a_time_limit_of_its_own() -> None:
    with (
        bench([scripted.slow(30)], max_retries=0, coder={"timeout_seconds": 0.3}) as (lab, _),
        pytest.raises(EndpointUnavailable, match=r"no complete answer within 0\.3 s"),
    ):
        lab.chat(role=ModelRole.CODER)


def test_a_refused_key_of_a_role_is_named_as_the_roles() -> None:
    with (
        scripted.scripted_endpoint([scripted.fails(401)]) as other,
        bench(["ok"], coder={"base_url": other.base_url}) as (lab, _),
        pytest.raises(ConfigError, match="EVOCODEC_MODEL__CODER__API_KEY"),
    ):
        lab.chat(role=ModelRole.CODER)


def test_no_call_waits_for_another_one_unless_told_to() -> None:
    calls = 24
    together = threading.Barrier(calls)

    def answer_when_all_are_here(handler: Any, asked: scripted.Asked) -> None:
        together.wait(60)
        scripted.says("Hello.")(handler, asked)

    with bench([answer_when_all_are_here], timeout_seconds=60.0, max_retries=0) as (lab, _):
        threads = [threading.Thread(target=lab.chat, args=(f"c{n:04d}",)) for n in range(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [call.outcome for call in lab.calls] == ["ok"] * calls


def test_a_stop_interrupts_a_call_under_way() -> None:
    with bench([scripted.slow(900)], timeout_seconds=900.0) as (lab, _):
        threading.Timer(0.3, lab.stop.set).start()
        with pytest.raises(EndpointUnavailable, match="asked to stop"):
            lab.chat()
        (call,) = lab.calls
        assert (call.outcome, call.completion_tokens) == ("cancelled", 100)  # paid for, perhaps


def test_closing_leaves_no_thread_and_refuses_further_calls() -> None:
    with bench(["ok"]) as (lab, _):
        lab.chat()
        lab.gateway.close()
        lab.gateway.close()
        with pytest.raises(EndpointUnavailable):
            lab.chat("c0002")
    assert not [t for t in threading.enumerate() if t.name == "model-gateway"]


def test_the_key_is_sent_and_shown_nowhere() -> None:
    with bench(["ok"]) as (lab, endpoint):
        lab.chat()
        headers = lower(endpoint.requests[0])
        settings = settings_for(endpoint)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(settings)
    assert KEY not in repr(endpoint_for(settings, ModelRole.CODER))
    assert all(KEY not in repr(call) for call in lab.calls)


def open_candidates(ledger: MemoryLedger, run_id: str, ids: Sequence[str]) -> None:
    for number, candidate_id in enumerate(ids, start=1):
        ledger.record(
            CandidateOpened(run_id=run_id, at="t", candidate_id=candidate_id, parent_id="",
                            number=number)
        )  # fmt: skip


def test_an_earlier_run_is_replayed_by_candidate_number_role_and_attempt() -> None:
    ledger, blobs = MemoryLedger(), MemoryBlobStore()
    open_candidates(ledger, "r", ["c0001", "c0002"])
    script: list[scripted.Behaviour | str] = ["plan one", "code one", scripted.empty()]
    with bench(script, ledger=ledger, blobs=blobs) as (lab, _):
        lab.chat("c0001", ModelRole.PLANNER)
        lab.chat("c0001", ModelRole.CODER)
        lab.chat("c0002", ModelRole.PLANNER)
    open_candidates(ledger, "again", ["x1", "x2", "x3"])
    replay = ReplayGateway(
        replay_from(ledger, blobs, "r"),
        run_id="again", ledger=ledger, blobs=blobs, record=ledger.record, now=lambda: "t",
    )  # fmt: skip

    def chat(candidate_id: str, role: ModelRole) -> Reply:
        return replay.chat(role, MESSAGES, candidate_id=candidate_id, attempt=0, template_sha256="")

    assert chat("x1", ModelRole.PLANNER).text == "plan one"
    assert chat("x1", ModelRole.CODER).text == "code one"
    assert chat("x1", ModelRole.CODER).recorded
    assert chat("x2", ModelRole.PLANNER).outcome == "empty"
    with pytest.raises(CandidateFailure, match="no reply for"):
        chat("x2", ModelRole.CODER)
    with pytest.raises(EndpointUnavailable, match="ends with candidate 2"):
        chat("x3", ModelRole.PLANNER)
    replayed = [e for _, e in ledger.events("again") if isinstance(e, ModelCalled)]
    assert sum(call.prompt_tokens + call.completion_tokens for call in replayed) == 0


def test_a_run_without_model_calls_cannot_be_replayed() -> None:
    with pytest.raises(UserError, match="no recorded model replies"):
        replay_from(MemoryLedger(), MemoryBlobStore(), "r")
