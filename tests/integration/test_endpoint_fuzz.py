"""Random answers of an endpoint: never an unexpected error, never a wrong booking.

A longer hunt: ``python -m tests.integration.test_endpoint_fuzz --minutes 10 --seed 7``.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any

from evocodec.domain.errors import CandidateFailure, ConfigError, EndpointUnavailable
from evocodec.domain.events import ModelCalled
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.models.contract import Reply
from tests.integration.test_model_gateway import MESSAGES, Bench, bench
from tests.support import scripted_model as scripted

MOST_TOKENS = 100
TRIES = 3
EXPECTED = (CandidateFailure, ConfigError, EndpointUnavailable)
HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, -(10**30), float("nan"), float("inf"), "", "x", "429"),
    *([], {}, [None], {"": None}, [[]], "\ud800", "\x00", "a" * 3000, "ß\u202e", {"code": {}}),
)
WORDS = (
    *(
        "context length",
        "maximum",
        "tokens",
        "max_tokens",
        "temperature",
        "stream",
        "not supported",
    ),
    *("Unsupported parameter", "role", "system", "rate limit", "try again in 0.01s", "quota", "64"),
    *("use", "max_completion_tokens", "4096", "<html>", "exceeds", "invalid", "model", "not found"),
)
STATUSES = (200, 200, 200, 200, 201, 204, 301, 400, 400, 400, 401, 402, 404, 405, 413, 422, 429)
HEADERS: dict[str, tuple[str, ...]] = {
    "Retry-After": ("0", "0.01", "-1", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "1e400"),
    "retry-after-ms": ("1", "x", ""),
    "x-ratelimit-reset-tokens": ("1ms", "0s", "-", "99"),
    "Location": ("http://192.0.2.1/", "::", ""),
    "Content-Encoding": ("identity", "gzip", "br"),
}
TYPES = ("application/json", "text/event-stream", "text/html", "", "a/b; charset=latin-9")


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 9)))


def usage(rng: random.Random) -> Any:
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "cost", "reasoning_tokens")
    found: dict[str, Any] = {name: rng.choice((rng.randint(0, 90), *HOSTILE)) for name in names}
    found["prompt_tokens_details"] = rng.choice(({"cached_tokens": 9}, *HOSTILE))
    return rng.choice((found, found, *HOSTILE))


def whole(rng: random.Random) -> dict[str, Any]:
    """A chat completion, with some of it replaced."""
    message: dict[str, Any] = {"role": "assistant", "content": "word " * rng.randint(0, 30)}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
    body: dict[str, Any] = {"choices": [choice], "usage": usage(rng)}
    if rng.random() < 0.3:
        body["error"] = {"code": rng.choice((429, 500, "400", *HOSTILE)), "message": sentence(rng)}
    for _ in range(rng.randint(0, 3)):
        target = rng.choice((message, choice, body))
        target[rng.choice([*target, "refusal", "delta", "text"])] = rng.choice(HOSTILE)
    return body


def stream(rng: random.Random) -> bytes:
    """Server-sent events, with some of them broken."""
    lines = []
    for _ in range(rng.randint(0, 12)):
        chunk: dict[str, Any] = {"choices": [{"delta": {"content": "word "}}]}
        if rng.random() < 0.3:
            chunk = {"choices": rng.choice(HOSTILE), "usage": usage(rng)}
        if rng.random() < 0.1:
            chunk = {"error": {"message": sentence(rng)}}
        event = b"data: " + json.dumps(chunk).encode()
        lines.append(rng.choice((event, event, event, b": ping", b"event: x", b"data: {", b"\xff")))
    end = rng.choice((b"data: [DONE]", b"data: [DONE]", b"", b"data:"))
    return rng.choice((b"\n\n", b"\r\n\r\n", b"\n", b"\r\r")).join([*lines, end, b""])


def body_of(rng: random.Random) -> bytes:
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: json.dumps(whole(rng)).encode(),
        lambda: stream(rng),
        lambda: json.dumps({"error": {"message": sentence(rng), "code": "x"}}).encode(),
        lambda: sentence(rng).encode(),
        lambda: rng.randbytes(rng.randint(0, 200)),
    )
    body = rng.choice(makers)()
    if rng.random() < 0.2:
        body = body[: rng.randint(0, len(body))]
    return body


def answer(rng: random.Random) -> scripted.Behaviour:
    """Any status, headers and body, perhaps cut off."""
    body, status = body_of(rng), rng.choice(STATUSES)
    headers = {"Content-Type": rng.choice(TYPES)}
    for name, values in HEADERS.items():
        if rng.random() < 0.1:
            headers[name] = rng.choice(values)
    cut = rng.random() < 0.1

    def behave(handler: Any, asked: scripted.Asked) -> None:
        handler.start(status, {**headers, "Content-Length": str(len(body) + 50 * cut)})
        handler.wfile.write(body)

    return rng.choice((behave, behave, behave, behave, scripted.drops()))


def one(lab: Bench, number: int) -> None:
    """Ask once, and check what is told and what is booked."""
    known, reply, said = len(lab.calls), None, "a reply"
    try:
        reply = lab.gateway.chat(
            ModelRole.CODER, MESSAGES, candidate_id=f"c{number}", attempt=0, template_sha256=""
        )
    except EXPECTED as error:
        said = str(error)
    assert said
    (call,) = lab.calls[known:]
    check(call, reply)


def check(call: ModelCalled, reply: Reply | None) -> None:
    most = MOST_TOKENS + 200_000  # of a reply with the reasoning that a server may claim
    assert call.received == (reply is not None)
    assert 0 <= call.prompt_tokens <= TRIES * 6000
    assert 0 <= call.completion_tokens <= TRIES * most
    assert 0 <= call.cost_usd <= TRIES * 0.002 * (6000 + most)
    assert 1 <= call.tries <= TRIES + 12
    if reply is not None:
        assert call.prompt_tokens > 0
        words = len(reply.text.split())
        assert call.completion_tokens >= words // 2
        assert call.cost_usd > 0 or not words
    if call.outcome in (CallOutcome.TIMEOUT, CallOutcome.CONNECTION):  # perhaps it was paid for
        assert call.completion_tokens >= MOST_TOKENS


def hunt(seed: int, seconds: float, rounds: int) -> int:
    """Ask until time or rounds are over; returns how often. A failure names its round."""
    ended, number = time.monotonic() + seconds, 0
    while time.monotonic() < ended and number < rounds:
        rng = random.Random(f"{seed}/{number}")
        script: list[scripted.Behaviour | str] = [answer(rng) for _ in range(40)]
        settings: dict[str, Any] = {
            "max_retries": TRIES - 1,
            "max_tokens": MOST_TOKENS,
            "gone_after_seconds": 0.5,
            "backoff_seconds": 0.001,
            "price_input_usd_per_million": 1.0,
            "price_output_usd_per_million": 1.0,
        }
        with bench(script, **settings) as (lab, _):
            for _ in range(12):
                number += 1
                try:
                    one(lab, number)
                except BaseException as error:
                    error.add_note(f"seed {seed}, round {number}")
                    raise
    return number


def test_no_answer_is_unexpected_and_none_is_booked_wrongly() -> None:
    assert hunt(seed=12, seconds=600, rounds=96) == 96


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    print(hunt(given.seed, given.minutes * 60, 10**9), "calls, seed", given.seed)  # noqa: T201
