"""The budget under any interleaving of calls: never exceeded, and spent to within one call."""

import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import BudgetExhausted
from evocodec.domain.vocabulary import ModelRole
from evocodec.models.budget import Budget
from evocodec.models.endpoint import endpoint_for
from evocodec.models.usage import Booked

MOST = 100  # tokens of a call: 40 of the prompt and 60 of the reply


def limited(**limits: Any) -> ModelSettings:
    given: dict[str, Any] = {
        "model": "m",
        "base_url": "http://127.0.0.1/v1",
        "max_tokens": 60,
        "price_output_usd_per_million": 1e4,
        "price_input_usd_per_million": 1e4,
    }
    return ModelSettings.model_validate({**given, **limits})


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(MOST, 12 * MOST),
    used=st.lists(st.integers(1, MOST), min_size=30, max_size=30),
    threads=st.integers(1, 6),
    in_money=st.booleans(),
)
def test_a_budget_is_spent_to_within_one_call_and_never_exceeded(
    limit: int, used: list[int], threads: int, in_money: bool
) -> None:
    limits = {"budget_usd": limit / 100} if in_money else {"budget_tokens": limit}
    given = limited(**limits)
    endpoint, budget = endpoint_for(given, ModelRole.CODER), Budget(given)
    calls, lock, ended = iter(used * 50), threading.Lock(), []

    def work() -> None:
        while True:
            with lock:
                tokens = next(calls)
            try:
                with budget.promise(endpoint, 40) as promise:
                    promise.booked = Booked(0, tokens, tokens / 100)
            except BudgetExhausted:
                ended.append(budget.spent.completion_tokens)
                return

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spent = budget.spent
    assert spent.completion_tokens <= limit
    assert len(ended) == threads
    assert min(ended) > limit - MOST


def test_a_call_waits_for_promises_of_others_instead_of_ending_the_run() -> None:
    budget = Budget(limited(budget_tokens=150))
    endpoint = endpoint_for(limited(), ModelRole.CODER)
    waits, told = threading.Event(), []

    def waiting(why: str) -> None:
        told.append(why)
        waits.set()

    def second() -> None:
        with budget.promise(endpoint, 40, waiting=waiting):
            pass

    with budget.promise(endpoint, 40) as first:
        other = threading.Thread(target=second)
        other.start()
        assert waits.wait(60)
        first.booked = Booked(40, 5)
    other.join()
    assert told == ["what is left of the budget is promised to calls under way"]
    assert budget.spent.completion_tokens == 45
