"""Every label value that a metric may have; anything else is counted as ``other``.

Roles, outcomes and failures arrive as text, some of it from models, endpoints and programs: without
a closed list each odd string would become a time series that Prometheus keeps for weeks.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import FailureKind
from evocodec.domain.results import Stage

OTHER = "other"

STATUSES = tuple(status.value for status in CandidateStatus if status != CandidateStatus.RUNNING)
STAGES = tuple(stage.value for stage in Stage)
FAILURES = tuple(kind.value for kind in FailureKind)
STAGE_OUTCOMES = ("passed", "dropped", "failed")
STEPS = ("encode", "decode")
ROLES = ("planner", "coder", "reviewer", "judge")
DIRECTIONS = ("prompt", "completion")
RECEIVED = ("ok", "empty", "refused", "truncated", "unparsable")
UNANSWERED = (
    *("timeout", "connection", "malformed", "rate_limited", "server_error", "quota"),
    *("authentication", "not_found", "bad_request", "context_overflow"),
)
RULES = (
    *("first_under_adopt", "first_chance", "bitrate", "compression", "baseline"),
    *("not_enough", "screen", "failed", "vetoed", "uncertain", "overfitted", "limits"),
)
VIOLATIONS = (
    *(FailureKind.FORBIDDEN.value, FailureKind.OUTPUT_LIMIT.value),
    *(FailureKind.MEMORY.value, FailureKind.TIMEOUT.value),
)
"""What the sandbox ends a program for; ``forbidden`` is an operation that it may not even try."""
GATE_RULES = (
    *("syntax", "interface", "size", "import", "star_import", "dunder", "builtin", "private"),
    *("library_codec", "file_access", "native_code", "unsafe_loading", "host_module", "processes"),
    "model",
)
LAYERS = (
    *("no_new_privs", "rlimits", "capabilities", "seccomp", "landlock", "scratch", "cgroup"),
    *("user_namespace", "pid_namespace", "net_namespace", "mount_namespace", "ipc_namespace"),
    *("uts_namespace", "pivot_root", "unprivileged_user", "path_broker", "read_only_files"),
    "bubblewrap",
)
RUN_STATES = ("running", "finished", "interrupted", "endpoint_gone", "budget", "failed")
PROPOSERS = ("model", "mutation", "replay", "submission")
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
        self, metric: M, labels: Mapping[str, Sequence[str]], *, from_zero: bool = True
    ) -> None:
        self._metric = metric
        self._known = tuple(frozenset(values) for values in labels.values())
        if from_zero:
            for values in itertools.product(*labels.values()):
                metric.labels(*values)

    def of(self, *values: str) -> M:
        """Return the series of these label values, in the order of the labels."""
        return self._metric.labels(
            *(
                value if value in known else OTHER
                for value, known in zip(values, self._known, strict=True)
            )
        )
