"""A run on three nodes of Ray, with stores that keep their data: one of each dies."""

from pathlib import Path

from tests.support.chaos_run import Plan, evolve


def test_nothing_is_lost_or_doubled_when_worker_head_and_stores_die(tmp_path: Path) -> None:
    deaths = ("worker", "dynamodb", "s3", "head")
    plan = Plan(
        # Two may close between two deaths, and one before the first.
        candidates=1 + 2 * len(deaths),
        deaths=deaths,
        every_seconds=0.0,
        stores=True,
        away_seconds=(0.2, 1.0),
        again=6,
        most_seconds=200.0,
        extra={"run.slots": 2, "ray.head_seconds": 5.0},
    )
    result = evolve(plan, tmp_path)
    assert result.problems == []
    assert result.killed == dict.fromkeys(deaths, 1)
