"""Ledgers of older versions are read as today's, and their runs can be gone on with."""

import json
from typing import Any

import pytest

from evocodec.domain.beginning import ClusterFacts, FixedSettings, ModelBudget, SubmittedProgram
from evocodec.domain.errors import UserError
from evocodec.domain.events import RunStarted
from evocodec.domain.vocabulary import Proposer
from evocodec.store.event_json import event_from_json, event_to_json

FIXED: dict[str, Any] = {
    "evaluation": {"clips": ["city", "dog"], "screen_frames": 9, "smoke_qp": 30.0, "vmaf": "eval"},
    "judge": {"adopt_first_below_mbps": 9.0},
    "held_out": {"enabled": True, "keep": 0.5},
    "limits": {"charge_program": False},
    "seed": 7,
}
SETTINGS = {
    "run.fixed": json.dumps(FIXED),
    "run.baselines": "aa,bb",
    "run.submission": json.dumps(["cc", "mine"]),
    "run.held_out_draws": "dd",
    "notice": "No model.",
    "machine": "16 CPUs, 0.5 GPUs",
    "ray.dashboard": "http://127.0.0.1:8265",
    "ray.address_used": "",
    "ray.gpus_per_task": "0.25",
    "model.budget_usd": "5.5",
    "model.budget_tokens": "1000",
}


def started(settings: dict[str, str]) -> str:
    """The first event as versions before 0.2 wrote it."""
    return json.dumps(
        {
            "kind": "run_started", "run_id": "r", "at": "2026-11-30T11:00:00.123",
            "candidate_id": "", "proposer": "mutation", "seed": 7, "clips": ["city"],
            "settings": settings, "software": {}, "isolation": {}, "unsafe": False, "resumed": 0,
        }
    )  # fmt: skip


def read(settings: dict[str, str]) -> RunStarted:
    event = event_from_json(started(settings))
    assert isinstance(event, RunStarted)
    return event


def test_texts_among_the_settings_become_typed_fields() -> None:
    event = read(SETTINGS)
    assert event.proposer is Proposer.MUTATION
    assert event.notice == "No model."
    assert event.cluster == ClusterFacts("", "http://127.0.0.1:8265", 16.0, 0.5, 0.25)
    assert event.budget == ModelBudget(5.5, 1000)
    began = event.beginning
    assert began
    assert began.fixed == FixedSettings(
        seed=7,
        evaluation={**FIXED["evaluation"], "clips": ("city", "dog")},
        judge={"adopt_first_below_mbps": 9.0},
        held_out={"enabled": True, "keep": 0.5},
        limits={"charge_program": False},
    )
    assert began.baselines == ("aa", "bb")
    assert began.submission == SubmittedProgram("cc", "mine")
    assert began.held_out_secret == "dd"
    assert set(event.settings) == {"ray.gpus_per_task", "model.budget_usd", "model.budget_tokens"}


def test_what_is_upgraded_is_written_and_read_in_todays_form() -> None:
    event = read(SETTINGS)
    assert event_from_json(event_to_json(event)) == event


def test_a_run_from_before_the_gate_and_the_limits_has_neither() -> None:
    old = {name: FIXED[name] for name in ("evaluation", "judge", "seed")}
    began = read({"run.fixed": json.dumps(old), "run.baselines": "aa"}).beginning
    assert began
    assert began.fixed.held_out is None
    assert began.fixed.limits is None
    assert began.submission is None


def test_a_run_that_kept_nothing_has_no_beginning() -> None:
    assert read({"run.minutes": "5"}).beginning is None


def test_a_damaged_beginning_is_said_to_be_damaged() -> None:
    with pytest.raises(UserError, match="damaged"):
        read({"run.fixed": '{"seed": 7', "run.baselines": "aa"})
