"""Label values of all metrics; any other value is counted as ``other``.

Most are the members of a vocabulary of the domain, in whole: a new member has its series at once.
What is of no vocabulary (anchors, layers that a worker of another version reports) could be any
text: without a closed list each odd string would become a time series that Prometheus keeps for
weeks.
"""

import itertools
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import FailureKind
from evocodec.domain.vocabulary import GateRule, RunOutcome, RunPhase

OTHER = "other"


class StageOutcome(StrEnum):
    """Outcome of a candidate in a stage."""

    PASSED = "passed"
    DROPPED = "dropped"
    FAILED = "failed"


class CodingStep(StrEnum):
    """The two halves of measuring a rate point."""

    ENCODE = "encode"
    DECODE = "decode"


class Direction(StrEnum):
    """Tokens that go to a model, and that come back."""

    PROMPT = "prompt"
    COMPLETION = "completion"


def rule_label(rule: GateRule) -> str:
    """The label of a rule of the review; all objections of a model reviewer share one."""
    return "model" if rule.of_model else rule.value


STATUSES = tuple(status for status in CandidateStatus if status is not CandidateStatus.RUNNING)
VIOLATIONS = (
    *(FailureKind.FORBIDDEN, FailureKind.OUTPUT_LIMIT, FailureKind.MEMORY, FailureKind.TIMEOUT),
)
"""What the sandbox ends a program for; ``forbidden`` is an operation that it may not even try."""
GATE_RULES = tuple(dict.fromkeys(rule_label(rule) for rule in GateRule))
RUN_STATES = (RunPhase.RUNNING, *RunOutcome)
ANCHORS = tuple(
    f"{encoder}{track}"
    for track in ("", "-ld")
    for encoder in (
        *("x265-medium", "x264-medium", "x265-veryslow", "svt-av1-p8", "svt-av1-p6", "aom-cpu4"),
        *("vvenc-faster", "vvenc-medium"),
    )
)
"""Both tracks, as ``evocodec anchors`` calls them; x265-medium is what scores are made with."""
STORES: Mapping[str, tuple[str, ...]] = {
    "ledger": ("record", "events", "get", "runs"),
    "blobs": ("put", "get", "has"),
    "records": ("put", "get", "latest"),
}
LEVELS = ("warning", "error", "critical")

M = TypeVar("M", bound=MetricWrapperBase)


class Family(Generic[M]):
    """One metric with labels, each of which takes only the values that are listed for it.

    ``from_zero``: all series exist from the beginning. The first failure of a kind is then an
    increase that Prometheus sees, and not a series that appears with the value one.
    """

    def __init__(
        self, metric: M, labels: Mapping[str, Iterable[str]], *, from_zero: bool = True
    ) -> None:
        self._metric = metric
        self._known = tuple(frozenset(values) for values in labels.values())
        self._series: dict[tuple[str, ...], M] = {}
        if from_zero:
            for values in itertools.product(*labels.values()):
                metric.labels(*values)

    def of(self, *values: str) -> M:
        """Return the series of these label values, in the order of the labels."""
        found = self._series.get(values)
        if found is None:
            pairs = zip(values, self._known, strict=True)
            allowed = tuple(value if value in known else OTHER for value, known in pairs)
            found = self._metric.labels(*allowed)
            if allowed == values:  # kept: a run asks for the same few a hundred thousand times
                self._series[values] = found
        return found
