"""The parts' options as the settings have them by default, with a test's changes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.templates import Prompts
from evocodec.app.engine import engine_options, make_limits, make_policy
from evocodec.app.prompt_settings import make_prompts
from evocodec.app.stage_settings import stage_settings, thresholds
from evocodec.app.stores import s3_options, table_options
from evocodec.app.workspace import Workspace
from evocodec.config import Settings
from evocodec.evaluation.staged import StageSettings
from evocodec.execution.contract import EngineOptions
from evocodec.rules.adoption import Thresholds
from evocodec.sandbox.policy import Limits, Policy
from evocodec.store.aws.blobs import S3Options
from evocodec.store.aws.tables import TableOptions
from evocodec.video.data_options import DataOptions


def default_policy(**changes: Any) -> Policy:
    return replace(make_policy(Settings()), **changes)


def default_limits(**changes: Any) -> Limits:
    return replace(make_limits(Settings()), **changes)


def default_engine_options(**changes: Any) -> EngineOptions:
    return replace(engine_options(Settings()), **{"local_cpus": None, **changes})


def default_thresholds(**changes: Any) -> Thresholds:
    return replace(thresholds(Settings()), **changes)


def default_stage_settings(**changes: Any) -> StageSettings:
    return replace(stage_settings(Settings()), **changes)


def default_prompts(**changes: Any) -> Prompts:
    return replace(make_prompts(Settings()), **changes)


def default_data_options(folder: Path) -> DataOptions:
    """With the cache of videos in a folder of the test's own."""
    workspace = Workspace(folder)
    return replace(workspace.data_options(Settings()), cache_folder=folder, test_sets=None)


def default_s3_options(bucket: str, **changes: Any) -> S3Options:
    """Of a bucket that is shared with others."""
    given = {"bucket": bucket, "prefix": "lab/", **changes}
    return replace(s3_options(Settings().store), **given)


def default_table_options(**changes: Any) -> TableOptions:
    return replace(table_options(Settings().store, ttl=False), **changes)
