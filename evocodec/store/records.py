"""Experiment records: one plain JSON object per candidate, in the shape users query.

A record says only what is true: a candidate without a score has no metrics, and no placeholder
values either.
"""

import logging
import re
from typing import Any, NotRequired, Protocol, TypeAlias, TypedDict

_log = logging.getLogger(__name__)
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

JsonObject: TypeAlias = dict[str, Any]


class Metrics(TypedDict, total=False):
    """The user's two numbers; both absent when there is no full evaluation."""

    bitrate_mbps: float
    compression_ratio: float


class Evolution(TypedDict):
    """Result of a candidate; ``version`` is None unless it was adopted.

    ``github_committed`` says that the version is committed to the champion repository;
    ``github_pushed``, that the commit also reached the remote. ``held_out`` holds both numbers of
    the held-out gate, None where it was not asked; it is for people, and no prompt is made of it.
    """

    status: str
    adopted: bool
    version: int | None
    metrics: Metrics
    improvement: str
    summary: str
    github_committed: bool
    github_commit_hash: str
    github_pushed: bool
    reason: str
    rule: str
    failure: JsonObject | None
    held_out: JsonObject | None


class Experiment(TypedDict):
    """One candidate's experiment."""

    experiment_type: str
    status: str
    evolution: Evolution
    candidate: JsonObject


class ExperimentRecord(TypedDict):
    """The item of table ``ai-video-codec-experiments``."""

    experiment_id: str
    timestamp: str
    completed_at: str
    run_id: str
    candidate_id: str
    experiments: list[Experiment]
    unsafe: NotRequired[bool]
    library_codecs_allowed: NotRequired[bool]


class RecordStore(Protocol):
    """Keeps experiment records; any thread and process may call at any time.

    InfrastructureFailure when the storage fails; ValueError for an experiment id that is not 1 to
    128 letters, digits, dots, dashes or underscores.
    """

    def put(self, record: ExperimentRecord) -> None:
        """Keep a record, durably; one with the same id is replaced."""
        ...

    def get(self, experiment_id: str) -> ExperimentRecord | None:
        """Return the record of that id, or None."""
        ...

    def latest(self, n: int) -> tuple[ExperimentRecord, ...]:
        """Return at most ``n`` records, newest timestamp first.

        A store of many machines may show a record here a moment later than ``get`` does.
        """
        ...


def check_experiment_id(experiment_id: str) -> None:
    """Raise ValueError unless the id is a safe name."""
    if not _SAFE_ID.fullmatch(experiment_id):
        raise ValueError(f"{experiment_id[:80]!r} is not an experiment id")
