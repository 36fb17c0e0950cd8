"""Nothing of the held-out gate reaches whoever writes programs: pass or fail, and no more.

A real run with a model behind real HTTP, whose programs pass, overfit and break on held-out
material; then every prompt, the brief and the mutation proposer's view are searched for its facts.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import graph.history
from evocodec.app import Laboratory
from evocodec.app.brief import write_brief
from evocodec.app.runs import perform_run
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.events import Event, HeldOutTested, PointMeasured
from evocodec.domain.results import Stage
from evocodec.rules.held_out import BROKEN_MESSAGE, FAILED_MESSAGE
from evocodec.search.archive import Archive
from evocodec.video.clip_spec import parse_clip
from evocodec.video.clips import Clip, load_clip
from evocodec.views.run import RunView
from graph.history import planner_history
from tests.integration.test_model_run import BETTER, PLAN, TOY_SOURCE
from tests.support import scripted_model as scripted
from tests.support.toy_laboratory import CARPHONE, local_laboratory

DEVELOPMENT = f"{CARPHONE}@0-8:96x80"
WIDTH, HEIGHT = 118, 70

# Gains on the frames that it was written for, and nowhere else: half the bits are cut where the
# size is that of the development clip, by a predictor that every clip would gain by.
OVERFITTED = TOY_SOURCE.replace('PREDICTION = "none"', 'PREDICTION = "previous"').replace(
    "def predict(levels: np.ndarray, before: np.ndarray) -> np.ndarray:\n",
    "def predict(levels: np.ndarray, before: np.ndarray) -> np.ndarray:\n"
    "    if levels.shape not in ((80, 96), (40, 48)):\n"
    "        return np.full_like(levels, 0)\n",
)
TELLTALE = "TELLTALE"
BROKEN = BETTER.replace(
    "    step = step_of(qp)\n    yield",
    f'    if stream.width == {WIDTH}:\n        raise ValueError("TELL" + f"TALE {{stream}}")\n'
    "    step = step_of(qp)\n    yield",
)


@dataclass(frozen=True)
class Finished:
    """A run that is over, and all that a model was asked in it."""

    lab: Laboratory
    view: RunView
    prompts: tuple[str, ...]
    events: tuple[Event, ...]
    facts: tuple[str, ...]
    development: Clip


def behaviour(programs: list[str]) -> scripted.Behaviour:
    """Answers every role: plans, finds nothing, vetoes nothing, writes these programs in order."""
    left = list(programs)

    def behave(handler: Any, asked: scripted.Asked) -> None:
        if "You plan the next experiment" in asked.prompt:
            scripted.says(PLAN)(handler, asked)
        elif "You review one Python program" in asked.prompt:
            scripted.says('{"findings": []}')(handler, asked)
        elif "A rule has decided" in asked.prompt:
            scripted.says('{"veto": false, "reason": "It fits."}')(handler, asked)
        else:
            scripted.code(left.pop(0))(handler, asked)

    return behave


def facts_of(events: tuple[Event, ...], clip: Path) -> tuple[str, ...]:
    """Every held-out fact in the forms in which it could be written."""
    facts = {clip.stem, TELLTALE, f"{WIDTH}x{HEIGHT}", f"{WIDTH}, {HEIGHT}", f"({HEIGHT}, {WIDTH}"}
    for event in events:
        if isinstance(event, HeldOutTested):
            result, interval = event.result, event.result.interval_percent
            gains = [result.held_out_gain_percent]
            gains += [interval.low, interval.high] if interval else []
            facts |= {f"{abs(gain):.2f}" for gain in gains if gain is not None}
            facts.add(result.seed_sha256[:8])
        elif isinstance(event, PointMeasured) and event.stage is Stage.HELD_OUT:
            facts |= {str(event.point.bits), f"{event.point.quality.psnr_y_db:.3f}"}
    return tuple(sorted(facts))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("secrecy")
    clip = folder / "zanzibar.mp4"
    shutil.copy(CARPHONE, clip)
    programs = [OVERFITTED, BROKEN, BETTER, BETTER + "\nEXTRA = 1\n"]
    with (
        scripted.scripted_endpoint([behaviour(programs)]) as endpoint,
        local_laboratory(
            folder / "w",
            held_out__enabled=True,
            held_out__derived=0,
            held_out__clips=[f"{clip}@60-67:{WIDTH}x{HEIGHT}"],
            model__base_url=endpoint.base_url,
            model__model="scripted",
            model__model_review=True,
            model__model_judge=True,
            run__candidates=5,
            run__slots=1,
            run__ahead=0,
            run__max_repairs=0,
            run__max_revisions=0,
        ) as lab,
    ):
        view = perform_run(lab)
        events = tuple(event for _, event in lab.resolver.events())
        yield Finished(
            lab,
            view,
            tuple(asked.prompt for asked in endpoint.requests),
            events,
            facts_of(events, clip),
            load_clip(parse_clip(DEVELOPMENT)),
        )


def leaks(text: str, facts: tuple[str, ...]) -> list[str]:
    """Which facts a text holds, as whole words or numbers."""
    return [fact for fact in facts if re.search(rf"(?<![\w.]){re.escape(fact)}(?![\w])", text)]


def view_of_the_proposer(finished: Finished) -> str:
    """All that planning is done from, of either kind: history and archive."""
    archive = Archive(seed=1)
    for event in finished.events:
        archive.observe(event)
    history = planner_history(finished.view, archive, 20)
    entries = [(e.candidate_id, e.estimated_bitrate_mbps, e.failed) for e in archive.entries()]
    return repr(history) + repr(entries)


def test_the_run_has_something_to_hide(finished: Finished) -> None:
    first, overfitted, broken, passed = finished.view.candidates[:4]
    assert first.status is CandidateStatus.ADOPTED, first.reason
    assert overfitted.verdict
    assert overfitted.verdict.rule == "overfitted", overfitted.reason
    assert broken.verdict
    assert broken.verdict.rule == "overfitted", broken.reason
    assert TELLTALE in broken.reason or "exception" in broken.reason
    assert passed.status is CandidateStatus.ADOPTED, passed.reason
    assert len(finished.facts) > 15
    assert any("A rule has decided" in prompt for prompt in finished.prompts)
    assert any("You review one" in prompt for prompt in finished.prompts)


def test_people_are_told_both_numbers(finished: Finished) -> None:
    overfitted = finished.view.candidates[1]
    assert overfitted.held_out
    gain = overfitted.held_out.held_out_gain_percent
    assert gain is not None
    assert f"{gain:+.2f}" in overfitted.reason
    record = finished.lab.records.get(overfitted.experiment_id)
    assert record
    held_out = record["experiments"][0]["evolution"]["held_out"]
    assert held_out
    assert held_out["held_out_gain_percent"] == pytest.approx(gain, abs=1e-5)
    assert held_out["development_gain_percent"] > 10 > held_out["held_out_gain_percent"]


def test_no_held_out_fact_reaches_a_prompt(finished: Finished) -> None:
    assert {prompt[:60]: leaks(prompt, finished.facts) for prompt in finished.prompts if
            leaks(prompt, finished.facts)} == {}  # fmt: skip


def test_prompts_say_pass_or_fail_and_no_more(finished: Finished) -> None:
    last = [prompt for prompt in finished.prompts if "You plan the next" in prompt][-1]
    assert FAILED_MESSAGE in last
    assert BROKEN_MESSAGE in last
    assert "held on held-out clips" in last


def test_no_held_out_fact_reaches_the_brief_or_the_proposer(finished: Finished) -> None:
    assert leaks(write_brief(finished.lab), finished.facts) == []
    assert leaks(view_of_the_proposer(finished), finished.facts) == []


def test_the_search_finds_a_leak_where_reasons_are_told_as_they_are(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph.history, "redacted_reason", lambda candidate: candidate.reason)
    assert leaks(write_brief(finished.lab), finished.facts)
    assert leaks(view_of_the_proposer(finished), finished.facts)


def test_a_program_sees_the_size_of_a_held_out_clip_and_not_its_name(finished: Finished) -> None:
    attempt = finished.view.candidates[2]
    assert attempt.held_out
    assert attempt.held_out.held_out_gain_percent is None
    assert "zanzibar" not in attempt.held_out.reason
    assert "held-" not in attempt.held_out.reason.replace("held-out", "")
