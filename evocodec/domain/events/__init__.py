"""Typed events: recorded by the ledger, and read by every listener (display, metrics, log).

Each event has a ``key`` that is unique within its run. The ledger records a key once, so recording
again after a crash changes nothing: this is what makes a resumed run lose and repeat nothing.
``candidate_id`` is empty for events of the whole run. Blobs (programs, prompts, replies) are named
by SHA-256 and kept beside the ledger.
"""

from typing import get_args

from evocodec.domain.events.base import EventBase
from evocodec.domain.events.decision import (
    Adopted,
    CandidateClosed,
    Judged,
    adopted_key,
    closed_key,
    judged_key,
)
from evocodec.domain.events.evaluation import (
    AttemptFailed,
    Evaluated,
    HeldOutTested,
    InfrastructureRetried,
    PointMeasured,
    Screened,
    StageStarted,
    evaluated_key,
    failed_key,
    held_out_key,
    point_key,
    screened_key,
    stage_started_key,
)
from evocodec.domain.events.proposal import (
    CandidateOpened,
    CodeWritten,
    ModelCalled,
    ModelNoted,
    Planned,
    Reviewed,
    code_key,
    note_key,
    opened_key,
    planned_key,
    reply_key,
    review_key,
)
from evocodec.domain.events.run import (
    AnchorReady,
    RunStarted,
    RunStopped,
    anchor_key,
    run_started_key,
    run_stopped_key,
)

__all__ = [
    "Adopted",
    "AnchorReady",
    "AttemptFailed",
    "CandidateClosed",
    "CandidateOpened",
    "CodeWritten",
    "Evaluated",
    "Event",
    "EventBase",
    "HeldOutTested",
    "InfrastructureRetried",
    "Judged",
    "ModelCalled",
    "ModelNoted",
    "Planned",
    "PointMeasured",
    "Reviewed",
    "RunStarted",
    "RunStopped",
    "Screened",
    "StageStarted",
    "adopted_key",
    "anchor_key",
    "closed_key",
    "code_key",
    "evaluated_key",
    "failed_key",
    "held_out_key",
    "judged_key",
    "kinds_of",
    "note_key",
    "opened_key",
    "planned_key",
    "point_key",
    "reply_key",
    "review_key",
    "run_started_key",
    "run_stopped_key",
    "screened_key",
    "stage_started_key",
]

Event = (
    RunStarted
    | AnchorReady
    | CandidateOpened
    | Planned
    | ModelCalled
    | ModelNoted
    | CodeWritten
    | Reviewed
    | StageStarted
    | PointMeasured
    | InfrastructureRetried
    | AttemptFailed
    | Screened
    | Evaluated
    | HeldOutTested
    | Judged
    | Adopted
    | CandidateClosed
    | RunStopped
)


def kinds_of(*events: type[Event]) -> tuple[str, ...]:
    """Return the ``kind`` of each type of event, to ask a ledger for those alone."""
    return tuple(get_args(event.__annotations__["kind"])[0] for event in events)
