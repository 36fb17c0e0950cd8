"""No text that comes from outside makes a new time series; what is counted restarts rightly."""

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from prometheus_client.parser import text_string_to_metric_families

from evocodec.anchors.encoders import anchor_encoders
from evocodec.domain.beginning import ClusterFacts, ModelBudget
from evocodec.domain.candidate import CandidateStatus, Finding, Verdict
from evocodec.domain.errors import FailureKind, InfrastructureFailure
from evocodec.domain.events import (
    Adopted,
    AnchorReady,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    Evaluated,
    Event,
    HeldOutTested,
    InfrastructureRetried,
    Judged,
    ModelCalled,
    PointMeasured,
    Reviewed,
    RunStarted,
    RunStopped,
    Screened,
    StageStarted,
)
from evocodec.domain.results import (
    BdRate,
    ClipScore,
    Cost,
    HeldOutResult,
    Quality,
    RatePoint,
    RdCurve,
    Score,
    ScreenResult,
    Stage,
    Track,
)
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import (
    CallOutcome,
    GateRule,
    Layer,
    ModelRole,
    Proposer,
    ReviewerName,
    RunOutcome,
    VerdictRule,
)
from evocodec.telemetry import labels
from evocodec.telemetry.metrics import RunMetrics
from evocodec.telemetry.stores import StoreMetrics

AT = "2026-01-01T00:00:00.000"
ODD = 'x" } \n# TYPE \x1b[31m 💥'
STARTED = RunStarted(
    run_id="run-20260101-000000",
    at=AT,
    proposer=Proposer.MODEL,
    seed=1,
    clips=("city",),
    settings={},
    budget=ModelBudget(usd=5.0),
    cluster=ClusterFacts(gpus_per_task=0.5),
    software={},
    isolation={"seccomp": "on", "landlock": "abi 5", "cgroup": "off: no delegation"},
)
SCORE = Score(8.0, 50.0, -22.0, "city", 1.1, 3.0, 9.0, 1, 1, ())

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: RunMetrics) -> Samples:
    text = metrics.exposition().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def values_of(found: Samples) -> dict[str, set[str]]:
    """The values of every label, but for the numbers of buckets."""
    values: dict[str, set[str]] = {}
    for _, pairs in found:
        for name, value in pairs:
            if name != "le":
                values.setdefault(name, set()).add(value)
    return values


def measured(candidate_id: str = "c0001", stage: Stage = Stage.FULL) -> PointMeasured:
    cost = Cost(
        encode_wall_seconds=3, encode_cpu_seconds=2, decode_wall_seconds=1, decode_cpu_seconds=0.5
    )
    point = RatePoint("city", 30, 800, 3, Quality(40, 40, 40, 40, None, 39), cost)
    return PointMeasured(
        run_id="r", at=AT, candidate_id=candidate_id, attempt=0, stage=stage, task="t", point=point
    )


def called(role: ModelRole, outcome: CallOutcome, tries: int = 1) -> ModelCalled:
    return ModelCalled(
        run_id="r", at=AT, candidate_id="c0001", role=role, attempt=0, model=ODD, prompt_sha256="",
        template_sha256="", reply_sha256="", outcome=outcome, prompt_tokens=10,
        completion_tokens=5, cost_usd=0.5, wall_seconds=1.0, tries=tries,
    )  # fmt: skip


def judged(candidate_id: str, rule: VerdictRule, against: str, gain: float | None) -> Judged:
    verdict = Verdict(True, rule, "", against, improvement_percent=gain)
    return Judged(run_id="r", at=AT, candidate_id=candidate_id, verdict=verdict)


def failed(stage: Stage, failure: FailureKind) -> AttemptFailed:
    return AttemptFailed(
        run_id="r", at=AT, candidate_id="c0001", attempt=0, stage=stage,
        failure=failure, message=ODD,
    )  # fmt: skip


def reviewed(*rules: GateRule) -> Reviewed:
    findings = tuple(Finding(rule, ODD) for rule in rules)
    return Reviewed(
        run_id="r", at=AT, candidate_id="c0001", attempt=0, accepted=not rules, findings=findings
    )


HOSTILE: tuple[Event, ...] = (
    replace(STARTED, run_id=ODD, isolation={ODD: ODD, "seccomp": "on"},
            settings={"model.budget_usd": ODD}, notice=ODD),
    CandidateOpened(run_id=ODD, at=AT, candidate_id=ODD, parent_id=ODD, number=1),
    called(ModelRole.CODER, CallOutcome.OK),
    reviewed(GateRule.MODEL_CHEATING, GateRule.DUNDER),
    measured(ODD),
    failed(Stage.SMOKE, FailureKind.CRASH),
    InfrastructureRetried(run_id=ODD, at=AT, candidate_id=ODD, task=ODD, retry=1, reason=ODD),
    AnchorReady(
        run_id=ODD, at=AT, curve=RdCurve(ODD, ODD, ()), stream=StreamInfo(16, 16, Fraction(25), 8),
        operating_psnr_y_db=38.0, cached=True, clip_sha256=ODD, primary=False,
    ),
    judged(ODD, VerdictRule.BASELINE, ODD, None),
    CandidateClosed(
        run_id=ODD, at=AT, candidate_id=ODD, status=CandidateStatus.REJECTED, reason=ODD,
        experiment_id=ODD,
    ),
    RunStopped(run_id=ODD, at=AT, outcome=RunOutcome.FAILED, message=ODD),
)  # fmt: skip


def test_odd_text_makes_no_label_value_that_is_not_listed() -> None:
    tame = RunMetrics()
    tame.observe(STARTED)
    before = values_of(samples(tame))
    hostile = RunMetrics()
    for event in HOSTILE:
        hostile.observe(event)
    after = values_of(samples(hostile))
    assert {name: found - before[name] - {labels.OTHER} for name, found in after.items()} == {
        name: set() for name in after
    }
    # Odd events are counted all the same.
    found = samples(hostile)
    assert found["evocodec_review_findings_total", frozenset({("rule", "model")})] == 1
    assert found["evocodec_review_findings_total", frozenset({("rule", "dunder")})] == 1
    assert found["evocodec_sandbox_layer", frozenset({("layer", labels.OTHER)})] == 1


def counted(event: Event) -> Samples:
    """The same without the text, which takes longest and is tested elsewhere."""
    metrics = RunMetrics()
    metrics.observe(event)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }


MEMBERS: tuple[tuple[str, Mapping[str, str], Event], ...] = (
    *(
        ("model_calls_total", {"role": role, "outcome": outcome}, called(role, outcome))
        for role in ModelRole
        for outcome in CallOutcome
    ),
    *(
        ("review_findings_total", {"rule": labels.rule_label(rule)}, reviewed(rule))
        for rule in GateRule
    ),
    *(
        ("verdicts_total", {"rule": rule}, judged("c0001", rule, "v1", None))
        for rule in VerdictRule
    ),
    *(
        ("attempt_failures_total", {"stage": stage, "failure": kind}, failed(stage, kind))
        for stage in Stage
        for kind in FailureKind
    ),
    *(
        ("run_state", {"state": outcome}, RunStopped(run_id="r", at=AT, outcome=outcome))
        for outcome in RunOutcome
    ),
    *(
        ("run_info", {"run_id": STARTED.run_id, "proposer": each}, replace(STARTED, proposer=each))
        for each in Proposer
    ),
    *(
        ("sandbox_layer", {"layer": layer}, replace(STARTED, isolation={layer: "on"}))
        for layer in Layer
    ),
    *(
        ("stages_total", {"stage": "review", "outcome": "passed"}, replace(reviewed(), reviewer=by))
        for by in ReviewerName
    ),
)


@pytest.mark.parametrize(("name", "pairs", "event"), MEMBERS)
def test_every_word_of_a_vocabulary_is_counted_under_its_own_label(
    name: str, pairs: Mapping[str, str], event: Event
) -> None:
    found = counted(event)
    assert found[f"evocodec_{name}", frozenset(pairs.items())] == 1
    others = [
        pairs
        for (_, pairs), value in found.items()
        if value and labels.OTHER in dict(pairs).values()
    ]
    assert others == []


def test_each_rule_but_a_models_has_a_label_of_its_own() -> None:
    static = [rule for rule in GateRule if not rule.of_model]
    assert len({labels.rule_label(rule) for rule in static}) == len(static)
    assert {labels.rule_label(rule) for rule in GateRule if rule.of_model} == {"model"}


def test_every_anchor_has_a_label() -> None:
    assert set(labels.ANCHORS) == {
        encoder.name for track in Track for encoder in anchor_encoders(track)
    }


STORY: tuple[Event, ...] = (
    STARTED,
    CandidateOpened(run_id="r", at=AT, candidate_id="c0001", parent_id="", number=1),
    called(ModelRole.CODER, CallOutcome.OK, tries=3),
    called(ModelRole.PLANNER, CallOutcome.TIMEOUT),
    reviewed(GateRule.IMPORT),
    reviewed(),
    StageStarted(run_id="r", at=AT, candidate_id="c0001", attempt=0, stage=Stage.SMOKE),
    measured(stage=Stage.SMOKE),
    StageStarted(run_id="r", at=AT, candidate_id="c0001", attempt=0, stage=Stage.SCREEN),
    Screened(
        run_id="r", at=AT, candidate_id="c0001", attempt=0,
        result=ScreenResult(0.8, {}, "c0000", True, ""),
    ),
    StageStarted(run_id="r", at=AT, candidate_id="c0001", attempt=0, stage=Stage.FULL),
    measured(),
    Evaluated(run_id="r", at=AT, candidate_id="c0001", attempt=0, score=SCORE),
    HeldOutTested(
        run_id="r", at=AT, candidate_id="c0001", attempt=0,
        result=HeldOutResult(True, "", "v1", 20.0, 18.0, None, 3, "", bitrate_mbps=8.4),
    ),
    judged("c0001", VerdictRule.BITRATE, "v1", 20.0),
    Adopted(
        run_id="r", at=AT, candidate_id="c0001", version=2, commit="", tag="v2", pushed=False
    ),
    CandidateClosed(
        run_id="r", at=AT, candidate_id="c0001", status=CandidateStatus.ADOPTED, reason="",
        experiment_id="",
    ),
    failed(Stage.SMOKE, FailureKind.FORBIDDEN),
)  # fmt: skip


def test_a_story_is_told_in_stages_money_and_versions() -> None:
    metrics = RunMetrics()
    for event in STORY:
        metrics.observe(event)
    found = samples(metrics)

    def value(name: str, **pairs: str) -> float:
        return found[f"evocodec_{name}", frozenset(pairs.items())]

    for stage in ("review", "smoke", "screen", "full", "held_out"):
        assert value("stages_total", stage=stage, outcome="passed") == 1
    assert value("stages_total", stage="smoke", outcome="failed") == 1
    assert value("sandbox_violations_total", kind="forbidden") == 1
    assert value("sandbox_violations_total", kind="memory") == 0
    assert value("review_findings_total", rule="import") == 1
    assert value("verdicts_total", rule="bitrate") == 1
    assert value("model_retries_total", role="coder") == 2
    assert value("model_calls_total", role="planner", outcome="timeout") == 1
    assert value("model_budget_usd") == 5
    assert value("gpu_seconds_total") == 2 * 0.5 * (3 + 1)
    assert value("champion_version") == 2
    assert value("champion_bd_rate_percent", anchor="x265-medium") == -22
    assert value("champion_hevc_saving_percent") == pytest.approx(20)
    assert value("champion_improvement_percent") == 18  # the smaller one: on held-out clips
    assert value("champion_held_out_bitrate_mbps") == 8.4
    assert value("sandbox_layer", layer="seccomp") == 1
    assert value("sandbox_layer", layer="landlock") == 1
    assert value("sandbox_layer", layer="cgroup") == 0
    assert value("run_state", state="running") == 1
    assert value("run_info", run_id="run-20260101-000000", proposer="model") == 1


def test_a_version_that_was_there_before_is_the_champion_at_first() -> None:
    metrics = RunMetrics()
    metrics.observe(STARTED)
    assert math.isnan(samples(metrics)["evocodec_champion_bitrate_mbps", frozenset()])
    metrics.observe(
        Evaluated(run_id="r", at=AT, candidate_id="c0001", attempt=0, score=SCORE),
    )
    metrics.observe(judged("c0001", VerdictRule.BASELINE, "v7", 0.0))
    found = samples(metrics)
    assert found["evocodec_champion_version", frozenset()] == 7
    assert found["evocodec_champion_bitrate_mbps", frozenset()] == 8


def ready(codec: str, clip: str, *, primary: bool = False) -> AnchorReady:
    return AnchorReady(
        run_id="r", at=AT, curve=RdCurve(codec, clip, ()),
        stream=StreamInfo(16, 16, Fraction(25), 8),
        operating_psnr_y_db=38.0, cached=True, clip_sha256="ab", primary=primary,
    )  # fmt: skip


def scored(candidate_id: str, bd_rate_percent: float) -> Evaluated:
    clips = tuple(
        ClipScore(name, RdCurve(candidate_id, name, ()), BdRate(0, 0, 1), 38, 1, 1, 1, 1)
        for name in ("city", "dog")
    )
    score = replace(SCORE, bd_rate_percent=bd_rate_percent, clips=clips)
    return Evaluated(run_id="r", at=AT, candidate_id=candidate_id, attempt=0, score=score)


def adopted(candidate_id: str, version: int) -> Adopted:
    return Adopted(
        run_id="r", at=AT, candidate_id=candidate_id, version=version, commit="", tag="",
        pushed=False,
    )  # fmt: skip


RATES = {
    ("svt-av1-p6", "c0001", "city"): 10.0,
    ("svt-av1-p6", "c0001", "dog"): 30.0,
    ("vvenc-medium", "c0001", "city"): 70.0,
    ("vvenc-medium", "c0001", "dog"): 90.0,
    ("svt-av1-p6", "c0002", "city"): -2.0,
    ("svt-av1-p6", "c0002", "dog"): 6.0,
    ("vvenc-medium", "c0002", "city"): 40.0,  # on the other clip there is no figure
}


def test_the_champion_is_set_against_each_anchor_whose_curves_are_known() -> None:
    metrics = RunMetrics(lambda anchor, test: RATES.get((anchor.codec, test.codec, test.clip)))

    def shown(what: str = "percent") -> dict[str, float]:
        name = f"evocodec_champion_bd_rate_{what}"
        return {dict(pairs)["anchor"]: v for (n, pairs), v in samples(metrics).items() if n == name}

    for clip in ("city", "dog"):
        metrics.observe(ready("x265-medium", clip, primary=True))
        metrics.observe(ready("svt-av1-p6", clip))
    metrics.observe(ready("vvenc-medium", "city"))
    assert shown() == {}
    metrics.observe(scored("c0001", -5.0))
    assert shown() == {}, "evaluated, and not yet the champion"
    metrics.observe(adopted("c0001", 1))
    assert shown() == {"x265-medium": -5, "svt-av1-p6": 20, "vvenc-medium": 70}
    assert shown("clips") == {"x265-medium": 2, "svt-av1-p6": 2, "vvenc-medium": 1}
    metrics.observe(ready("vvenc-medium", "dog"))  # encoded in the background, it comes late
    assert shown() == {"x265-medium": -5, "svt-av1-p6": 20, "vvenc-medium": 80}
    assert set(shown("clips").values()) == {2}
    metrics.observe(scored("c0002", -9.0))
    metrics.observe(adopted("c0002", 2))
    assert shown() == {"x265-medium": -9, "svt-av1-p6": 2, "vvenc-medium": 40}
    assert shown("clips") == {"x265-medium": 2, "svt-av1-p6": 2, "vvenc-medium": 1}
    metrics.observe(scored("c0003", -12.0))
    metrics.observe(adopted("c0003", 3))
    assert shown()["x265-medium"] == -12
    assert math.isnan(shown()["vvenc-medium"]), "the version before must not stay"
    assert shown("clips") == {"x265-medium": 2, "svt-av1-p6": 0, "vvenc-medium": 0}


def test_another_anchor_of_the_background_is_no_progress() -> None:
    metrics = RunMetrics()
    metrics.observe(STARTED)
    late = "2026-01-01T01:00:00.000"
    metrics.observe(replace(ready("svt-av1-p6", "city"), at=late))
    progress = "evocodec_last_progress_timestamp_seconds", frozenset[tuple[str, str]]()
    began = samples(metrics)[progress]
    metrics.observe(replace(ready("x265-medium", "city", primary=True), at=late))
    assert samples(metrics)[progress] == began + 3600


def test_a_resumed_run_counts_on_where_it_was_killed() -> None:
    whole = RunMetrics()
    for event in STORY:
        whole.observe(event)
    for cut in range(len(STORY)):
        again = RunMetrics()
        for event in STORY[:cut]:  # what the ledger has
            again.observe(event)
        for event in STORY[cut:]:  # what happens then
            again.observe(event)
        assert again.exposition() == whole.exposition()


def test_a_store_that_fails_or_hangs_is_seen() -> None:
    metrics = RunMetrics()
    stores = StoreMetrics(metrics.registry)
    with stores.timed("blobs", "put"):
        pass

    def hang_and_fail() -> None:
        with stores.timed("ledger", "record"):
            assert samples(metrics)["evocodec_ledger_lag_seconds", frozenset()] > 0
            raise InfrastructureFailure("disk full")

    with pytest.raises(InfrastructureFailure, match="disk full"):
        hang_and_fail()
    found = samples(metrics)
    assert found["evocodec_ledger_lag_seconds", frozenset()] == 0
    pair = frozenset({("store", "ledger"), ("operation", "record")})
    assert found["evocodec_store_errors_total", pair] == 1
    assert found["evocodec_store_seconds_count", pair] == 1
    put = frozenset({("store", "blobs"), ("operation", "put")})
    assert found["evocodec_store_seconds_count", put] == 1
    assert found["evocodec_store_errors_total", put] == 0


def test_slots_are_asked_for_only_while_there_is_an_engine() -> None:
    metrics = RunMetrics()
    metrics.watch_slots(lambda: 3, lambda: 4, tasks_waiting=lambda: 7)
    assert samples(metrics)["evocodec_tasks_waiting", frozenset()] == 7
    metrics.leave_slots()
    assert ("evocodec_slots", frozenset()) not in samples(metrics)
    metrics.watch_slots(lambda: 1, lambda: 2)
    assert samples(metrics)["evocodec_slots", frozenset()] == 2
