"""Which results nobody beats on both bits and decode time."""

from hypothesis import given
from hypothesis import strategies as st

from evocodec.domain.results import Score
from evocodec.report.pareto import TradeOff, pareto_front, trade_off


def point(label: str, bd_rate_percent: float, decode_ms: float) -> TradeOff:
    return TradeOff(label, bd_rate_percent, decode_ms)


def test_the_front_runs_from_the_quickest_to_the_smallest() -> None:
    points = [
        point("slow and small", -20, 90),
        point("beaten by the middle", 6, 41),
        point("quick and large", 30, 10),
        point("middle", 5, 40),
        point("slower than the smallest", -20, 95),
    ]
    assert [p.label for p in pareto_front(points)] == [
        "quick and large",
        "middle",
        "slow and small",
    ]


def test_equals_stay_together() -> None:
    twins = [point("a", 5, 40), point("b", 5, 40)]
    assert set(pareto_front(twins)) == set(twins)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_nobody_on_the_front_is_beaten_and_everybody_else_is(pairs: list[tuple[int, int]]) -> None:
    points = [point(str(n), bits, ms) for n, (bits, ms) in enumerate(pairs)]
    front = pareto_front(points)

    def beaten(one: TradeOff) -> bool:
        return any(
            other.bd_rate_percent <= one.bd_rate_percent
            and other.decode_ms <= one.decode_ms
            and (other.bd_rate_percent, other.decode_ms) != (one.bd_rate_percent, one.decode_ms)
            for other in points
        )

    assert {p.label for p in front} == {p.label for p in points if not beaten(p)}


def test_a_score_without_decode_time_is_no_point() -> None:
    score = Score(10.0, 50.0, 3.0, "a", 1.0, 1.0, 25.0, 1, 1, (), decode_time_ratio=8.0)
    assert trade_off("c1", score) == TradeOff("c1", 3.0, 40.0, 8.0)
    unknown = Score(10.0, 50.0, 3.0, "a", 1.0, 1.0, 0.0, 1, 1, ())
    assert trade_off("c1", unknown) is None
