"""Views are folds: the same events always tell the same story."""

import threading
from fractions import Fraction
from typing import Any

import pytest

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus, Finding, Origin, Verdict
from evocodec.domain.errors import FailureKind
from evocodec.domain.results import Quality, RatePoint, RdCurve, Score, ScreenResult, Stage
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import (
    CallOutcome,
    GateRule,
    ModelRole,
    Proposer,
    ReviewerName,
    RunOutcome,
    VerdictRule,
)
from evocodec.views.run import RunView
from evocodec.views.run_state import RunState, fold


def at(second: float) -> str:
    return f"2026-01-02T03:{int(second) // 60:02}:{second % 60:06.3f}"


def started(second: float = 0, resumed: int = 0) -> ev.RunStarted:
    return ev.RunStarted(
        run_id="r",
        at=at(second),
        proposer=Proposer.MUTATION,
        seed=3,
        clips=("city", "dog"),
        settings={"run.minutes": "5"},
        software={"python": "3.11"},
        isolation={"seccomp": "on"},
        resumed=resumed,
    )


def stopped(
    second: float, outcome: RunOutcome = RunOutcome.FINISHED, resumed: int = 0
) -> ev.RunStopped:
    return ev.RunStopped(run_id="r", at=at(second), outcome=outcome, resumed=resumed)


def point(qp: float, clip: str = "city") -> RatePoint:
    return RatePoint(clip, qp, 1000, 9, Quality(40, 42, 42, 40.5, None, 39))


def score(bitrate_mbps: float) -> Score:
    return Score(bitrate_mbps, 20.0, -5.0, "city", 0.9, 2.0, 8.0, 2**20, 4000, ())


def way(number: int, second: float = 10, **end: Any) -> list[ev.Event]:
    """One candidate from its opening to its end; ``end`` picks the end."""
    of: Any = {"run_id": "r", "candidate_id": f"c{number:04}", "at": at(second)}
    events: list[ev.Event] = [
        ev.CandidateOpened(**of, parent_id="c0000", number=number),
        ev.Planned(**of, origin=Origin.MUTATION, hypothesis="try", edits=(("BLOCK", "32"),)),
        ev.CodeWritten(**of, attempt=0, source_sha256=f"{number:064}", program_bytes=4000),
        ev.Reviewed(**of, attempt=0, accepted=True),
        ev.StageStarted(**of, attempt=0, stage=Stage.SMOKE),
        ev.PointMeasured(**of, attempt=0, stage=Stage.SMOKE, task="t", point=point(30)),
    ]
    if "failure" in end:
        events += [
            ev.AttemptFailed(
                **of, attempt=0, stage=Stage.SMOKE, failure=end["failure"], message="m", detail="d"
            ),
            closed(of, CandidateStatus.TEST_FAILED, "it failed"),
        ]
    if "bitrate_mbps" in end:
        version = end.get("version")
        verdict = Verdict(
            version is not None, VerdictRule.BITRATE, "because", "v0", end.get("gain", 1.0)
        )
        events += [
            ev.StageStarted(**of, attempt=0, stage=Stage.FULL),
            ev.Evaluated(**of, attempt=0, score=score(end["bitrate_mbps"])),
            ev.Judged(**of, verdict=verdict),
        ]
        if version is not None:
            events += [
                ev.Adopted(**of, version=version, commit="ab", tag=f"v{version}", pushed=True),
                closed(of, CandidateStatus.ADOPTED, "better"),
            ]
        else:
            events.append(closed(of, CandidateStatus.REJECTED, "not enough"))
    return events


def closed(of: Any, status: CandidateStatus, reason: str) -> ev.CandidateClosed:
    return ev.CandidateClosed(**of, status=status, reason=reason, experiment_id="real_exp_1_ab")


def only(view: RunView) -> Any:
    (candidate,) = view.candidates
    return candidate


def test_no_events_make_an_empty_run() -> None:
    view = fold([])
    assert view.state == "empty"
    assert view.candidates == ()
    assert view.best is None
    assert view.counts == {"running": 0, "adopted": 0, "rejected": 0, "test_failed": 0}


def test_a_run_without_candidates_tells_how_it_was_set_up() -> None:
    view = fold([started()])
    assert (view.state, view.proposer, view.seed) == ("running", "mutation", 3)
    assert view.clips == ("city", "dog")
    assert view.isolation == {"seccomp": "on"}


def test_a_stop_and_a_resume_change_the_state_and_the_time_between_is_not_counted() -> None:
    first: list[ev.Event] = [started(0), stopped(60, RunOutcome.INTERRUPTED)]
    view = fold(first)
    assert (view.state, view.outcome, view.elapsed_seconds) == ("stopped", "interrupted", 60)
    view = fold([*first, started(300, resumed=1), stopped(330, resumed=1)])
    assert (view.state, view.outcome, view.resumed) == ("stopped", "finished", 1)
    assert view.elapsed_seconds == 90


def test_a_killed_run_stays_running_and_counts_until_its_last_event() -> None:
    view = fold([started(0), *way(1, second=45)])
    assert view.state == "running"
    assert view.elapsed_seconds == 45
    resumed = fold([started(0), *way(1, second=45), started(1000, resumed=1), stopped(1005)])
    assert resumed.elapsed_seconds == 50


def test_counts_failures_and_order_of_candidates() -> None:
    view = fold(
        [
            started(),
            *way(1, failure=FailureKind.TIMEOUT),
            *way(2, failure=FailureKind.TIMEOUT),
            *way(3, bitrate_mbps=12.0),
            *way(4, bitrate_mbps=11.0, version=1),
            *way(5),
        ]
    )
    assert view.counts == {"running": 1, "adopted": 1, "rejected": 1, "test_failed": 2}
    assert view.failures == {"timeout": 2}
    assert [c.number for c in view.candidates] == [1, 2, 3, 4, 5]
    assert [c.candidate_id for c in view.in_flight] == ["c0005"]
    assert view.points == 5


def test_an_adopted_candidate_is_best_even_beside_a_rejected_one_with_fewer_bits() -> None:
    rejected = way(1, bitrate_mbps=8.0)
    assert only(fold(rejected)) == fold(rejected).best
    view = fold([*rejected, *way(2, bitrate_mbps=9.0, version=1)])
    assert view.best is not None
    assert view.best.candidate_id == "c0002"


def test_versions_carry_their_numbers_against_the_last_version_and_hevc() -> None:
    view = fold([*way(1, bitrate_mbps=13.0, version=1), *way(2, bitrate_mbps=8.5, version=2)])
    first, second = view.versions
    assert (first.version, first.candidate_id, first.bitrate_mbps) == (1, "c0001", 13.0)
    assert first.hevc_percent == pytest.approx(-30.0)
    assert second.hevc_percent == pytest.approx(15.0)
    assert second.improvement_percent == 1.0
    assert (second.commit, second.tag, second.pushed) == ("ab", "v2", True)


@pytest.mark.parametrize(
    ("events", "activity"),
    [(1, "planning"), (2, "coding"), (3, "review"), (4, "waiting"), (5, "smoke test")],
)
def test_what_a_candidate_is_doing_follows_its_events(events: int, activity: str) -> None:
    assert only(fold(way(1)[:events])).activity == activity


def test_a_failed_attempt_is_kept_and_a_repaired_one_has_no_failure() -> None:
    failed = way(1, failure=FailureKind.EXCEPTION)[:-1]
    candidate = only(fold(failed))
    assert candidate.failure.kind == "exception"
    assert (candidate.failure.stage, candidate.failure.detail) == (Stage.SMOKE, "d")
    assert candidate.activity == "repairing"
    repair = ev.CodeWritten(
        run_id="r",
        at=at(9),
        candidate_id="c0001",
        attempt=1,
        source_sha256="f" * 64,
        program_bytes=9,
    )
    candidate = only(fold([*failed, repair]))
    assert candidate.failure is None
    assert [a.failure is not None for a in candidate.attempts] == [True, False]
    assert candidate.source_sha256 == "f" * 64


def test_a_candidate_without_a_program_has_no_source() -> None:
    of: Any = {"run_id": "r", "candidate_id": "c0001", "at": at(1)}
    failure = ev.AttemptFailed(
        **of, attempt=0, stage=Stage.REVIEW, failure=FailureKind.NO_CODE, message="prose"
    )
    candidate = only(fold([failure]))
    assert candidate.source_sha256 == ""
    assert candidate.attempts[0].failure.kind == "no_code"


def test_reviews_of_all_attempts_are_listed_in_order() -> None:
    of: Any = {"run_id": "r", "candidate_id": "c0001", "at": at(1)}
    refused = ev.Reviewed(
        **of, attempt=0, accepted=False, findings=(Finding(GateRule.IMPORT, "no os", 3),)
    )
    accepted = ev.Reviewed(**of, attempt=1, accepted=True, reviewer=ReviewerName.MODEL)
    candidate = only(fold([refused, accepted]))
    assert [(r.reviewer, r.accepted) for r in candidate.reviews] == [
        ("static", False),
        ("model", True),
    ]


def test_the_newest_verdict_counts() -> None:
    of: Any = {"run_id": "r", "candidate_id": "c0001", "at": at(1)}
    stale = ev.Judged(**of, verdict=Verdict(True, VerdictRule.BITRATE, "first", "v1", 12.0))
    fresh = ev.Judged(**of, verdict=Verdict(False, VerdictRule.NOT_ENOUGH, "second", "v2", 2.0))
    assert only(fold([stale, fresh])).verdict == fresh.verdict


def test_screen_and_stage_progress() -> None:
    of: Any = {"run_id": "r", "candidate_id": "c0001", "at": at(1)}
    measured = [
        ev.PointMeasured(**of, attempt=0, stage=Stage.SCREEN, task="t", point=point(30, clip))
        for clip in ("city", "dog")
    ]
    begun = ev.StageStarted(**of, attempt=0, stage=Stage.SCREEN)
    candidate = only(fold([*way(1), begun, *measured]))
    assert (candidate.stage, candidate.stage_points) == (Stage.SCREEN, 2)
    assert candidate.stages == (Stage.SMOKE, Stage.SCREEN)
    result = ScreenResult(0.97, {"city": 0.97}, "c0000", passed=False, reason="too little")
    candidate = only(fold([*way(1), ev.Screened(**of, attempt=0, result=result)]))
    assert candidate.screen == result


def test_model_calls_tokens_money_and_retries_add_up() -> None:
    calls = [
        ev.ModelCalled(
            run_id="r",
            at=at(1),
            candidate_id="c0001",
            role=ModelRole.CODER,
            attempt=attempt,
            model="m",
            prompt_sha256="",
            template_sha256="",
            reply_sha256="",
            outcome=CallOutcome.OK,
            prompt_tokens=100,
            completion_tokens=10,
            cost_usd=0.25,
            wall_seconds=1.0,
        )
        for attempt in range(3)
    ]
    retry = ev.InfrastructureRetried(
        run_id="r", at=at(2), candidate_id="c0001", task="t", retry=1, reason="lost"
    )
    view = fold([*calls, retry])
    totals = (view.model_calls, view.prompt_tokens, view.completion_tokens, view.cost_usd)
    assert totals == (3, 300, 30, 0.75)
    assert view.retries == 1
    candidate = only(view)
    assert (candidate.model_calls, candidate.cost_usd, candidate.retries) == (3, 0.75, 1)


def test_anchors_are_listed_once_per_codec_and_clip() -> None:
    def anchor(operating: float, sha: str) -> ev.AnchorReady:
        return ev.AnchorReady(
            run_id="r",
            at=at(1),
            curve=RdCurve("x265-medium", "city", (point(20),)),
            stream=StreamInfo(240, 135, Fraction(25), 24),
            operating_psnr_y_db=operating,
            cached=False,
            clip_sha256=sha,
        )

    (view,) = fold([anchor(38.0, "a"), anchor(38.5, "b")]).anchors
    assert view.operating_psnr_y_db == 38.5


def test_live_and_replayed_views_are_equal_and_a_repeated_event_changes_nothing() -> None:
    events = [started(), *way(1, bitrate_mbps=9.0, version=1), *way(2, failure=FailureKind.CRASH)]
    state = RunState()
    for event in events:
        state.apply(event)
        state.apply(event)
        state.view()
    assert state.view() == fold(events)


def test_events_of_two_runs_are_not_mixed() -> None:
    state = RunState()
    state.apply(started())
    other = ev.RunStopped(run_id="other", at=at(1), outcome=RunOutcome.FINISHED)
    with pytest.raises(ValueError, match="run other in the view of r"):
        state.apply(other)


def test_a_view_may_be_asked_for_while_another_thread_applies() -> None:
    state = RunState()
    done = threading.Event()

    def write() -> None:
        for number in range(300):
            for event in way(number, failure=FailureKind.TIMEOUT):
                state.apply(event)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        view = state.view()
        assert sum(view.counts.values()) == len(view.candidates)
    writer.join()
    assert state.view().counts["test_failed"] == 300


def test_odd_timestamps_do_not_stop_a_view() -> None:
    view = fold([ev.RunStopped(run_id="r", at="yesterday", outcome=RunOutcome.FINISHED)])
    assert view.elapsed_seconds == 0.0


def test_a_closed_candidate_stays_closed_when_it_serves_as_a_reference() -> None:
    ended = fold([started(), *way(1, bitrate_mbps=9.0, version=1)]).candidates[0]
    of: Any = {"run_id": "r", "candidate_id": "c0001", "at": at(50)}
    again = ev.StageStarted(**of, attempt=0, stage=Stage.SCREEN)
    later = fold([started(), *way(1, bitrate_mbps=9.0, version=1), again]).candidates[0]
    assert (later.activity, later.stage) == (ended.activity, ended.stage)
