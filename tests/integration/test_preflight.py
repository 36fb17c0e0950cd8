"""The question before a run: what it learns, what it costs, and what it ends at once."""

import json
import threading
from typing import Any

import pytest
from typer.testing import CliRunner

from evocodec.app.endpoint_check import ask_endpoints, endpoints_now
from evocodec.cli.main import application
from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import ConfigError, EndpointUnavailable
from evocodec.domain.events import Event, ModelCalled, ModelNoted
from evocodec.domain.vocabulary import NoteSubject
from evocodec.models.knowledge import Knowledge
from evocodec.models.model_list import facts_of
from evocodec.store.memory import MemoryBlobStore, MemoryLedger
from tests.support import scripted_model as scripted
from tests.support.scripted_model import Endpoint


def settings(endpoint: Endpoint, **changes: Any) -> ModelSettings:
    quick = {"max_retries": 1, "backoff_seconds": 0.01, "api_key": "sk-of-the-test"}
    given = {"model": "m", "base_url": endpoint.base_url, **quick, **changes}
    return ModelSettings.model_validate(given)


def ask(given: ModelSettings, *, attempt: int = 0, program: str = "") -> list[Event]:
    return ask_endpoints(
        given,
        Knowledge(),
        run_id="r",
        ledger=MemoryLedger(),
        blobs=MemoryBlobStore(),
        stop=threading.Event(),
        attempt=attempt,
        programs=[program],
    )


def test_each_server_is_asked_once_and_the_call_is_counted() -> None:
    with scripted.scripted_endpoint(["no"]) as one, scripted.scripted_endpoint(["no"]) as two:
        one.models = {"data": [{"id": "m", "max_model_len": 32768}]}
        events = ask(settings(one, coder={"base_url": two.base_url}))
        assert (len(one.preflights), len(two.preflights)) == (1, 1)
        assert one.requests == two.requests == []
        assert one.preflights[0].body["max_tokens"] == 32
    calls = [event for event in events if isinstance(event, ModelCalled)]
    assert [(call.candidate_id, call.outcome) for call in calls] == [("", "ok")] * 2
    assert all(0 < call.completion_tokens <= 32 for call in calls)
    told = [event.text for event in events if isinstance(event, ModelNoted)]
    assert "(planner, reviewer); context 32,768 tokens" in told[0]
    assert "(coder)" in told[1]
    assert len({event.key for event in events}) == len(events)


def test_what_is_learnt_before_a_run_is_used_in_it() -> None:
    def refuses(handler: Any, asked: scripted.Asked) -> None:
        if "temperature" in asked.body:
            scripted.fails(400, message="temperature is not supported")(handler, asked)
        else:
            scripted.streams("rea", "dy")(handler, asked)

    with scripted.scripted_endpoint([refuses]) as endpoint:
        endpoint.preflight = False
        (found,) = endpoints_now(settings(endpoint))
        events = ask(settings(endpoint))
    assert "Evocodec leaves temperature out" in found.text
    assert "all at once" not in found.text
    subjects = [event.subject for event in events if isinstance(event, ModelNoted)]
    assert subjects == [NoteSubject.LEARNT, NoteSubject.ENDPOINT]


def test_nothing_is_asked_when_the_settings_say_so() -> None:
    with scripted.scripted_endpoint(["no"]) as endpoint:
        assert ask(settings(endpoint, preflight=False)) == []
        assert endpoint.preflights == []


def test_a_model_that_only_thinks_or_says_nothing_can_be_reached() -> None:
    thinks = scripted.says("", finish="length", reasoning_content="Let me see")
    no_room = scripted.fails(
        400, message="Could not finish the message because max_tokens or model output limit was "
        "reached. Please try again with higher max_tokens."
    )  # fmt: skip
    with scripted.scripted_endpoint([thinks, no_room]) as endpoint:
        endpoint.preflight = False
        (found,) = endpoints_now(settings(endpoint))
        assert "it reasons (beside the reply)" in found.text
        (found,) = endpoints_now(settings(endpoint))
        assert "answers" in found.text


def test_an_endpoint_that_is_not_there_ends_a_run_before_it_begins() -> None:
    with scripted.scripted_endpoint(["no"]) as endpoint:
        pass
    with pytest.raises(EndpointUnavailable, match=r"2 tries .* then run it again"):
        ask(settings(endpoint))


def test_a_context_without_room_for_the_program_is_a_mistake() -> None:
    with scripted.scripted_endpoint(["no"]) as endpoint:
        endpoint.models = {"data": [{"id": "m", "meta": {"n_ctx": 4096}}]}
        with pytest.raises(ConfigError, match=r"context of m .* is 4,096 tokens.*num_ctx"):
            ask(settings(endpoint), program="x" * 84_000)


@pytest.mark.parametrize(
    ("behaviour", "code", "said"),
    [
        (scripted.fails(401, message="no such key"), 2, "model.api_key"),
        (scripted.fails(404, message="The model `m` does not exist"), 2, "model.model"),
        (scripted.fails(405), 2, "model.base_url"),
        (scripted.fails(429, code="insufficient_quota"), 3, "nothing left to pay with"),
    ],
)
def test_a_wrong_key_model_or_url_ends_a_run_at_once_with_its_exit_code(
    behaviour: scripted.Behaviour, code: int, said: str, tmp_path: Any
) -> None:
    with scripted.scripted_endpoint([behaviour]) as endpoint:
        endpoint.preflight = False
        flags = {
            "model.base_url": endpoint.base_url,
            "model.model": "m",
            # Not to be joined: whoever tries has started the engine too early.
            "ray.address": "127.0.0.1:1",
            "workspace": str(tmp_path / "w"),
        }
        given = [f"--set={name}={value}" for name, value in flags.items()]
        result = CliRunner().invoke(application(), [*given, "run", "--json", "--candidates", "1"])
        doctor = CliRunner().invoke(application(), [*given, "doctor", "--json"])
        assert len(endpoint.requests) == 2
    assert result.exit_code == code, result.output
    assert said in result.output
    checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert checks["model"]["state"] == "fail"
    assert said in checks["model"]["detail"]


@pytest.mark.parametrize(
    ("body", "context", "price"),
    [
        ({"data": [{"id": "m", "max_model_len": 4096}]}, 4096, None),
        ({"data": [{"id": "other", "max_model_len": 4096}]}, 0, None),
        ({"data": [{"id": "m", "context_length": 8192, "pricing": {"prompt": "0.000003",
          "completion": "0.000015"}}]}, 8192, 3.0),
        ({"data": [{"id": "m", "pricing": {"prompt": "-1", "completion": "-1"}}]}, 0, None),
        ({"models": [{"name": "m", "meta": {"n_ctx": 2048}}]}, 2048, None),
        ([{"id": "m", "context_window": True}], 0, None),
        ({"data": "many"}, 0, None),
        (7, 0, None),
    ],
)  # fmt: skip
def test_a_list_of_models_is_read_as_far_as_it_makes_sense(
    body: object, context: int, price: float | None
) -> None:
    facts = facts_of("m", json.dumps(body))
    assert facts.context_tokens == context
    assert facts.input_usd_per_million == (None if price is None else pytest.approx(price))
