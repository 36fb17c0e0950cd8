"""Closed vocabularies: every word that one part writes and another part compares or counts.

Ledgers, records, metrics and JSON hold the values, so a value never changes its meaning. Metric
labels are made from these types (``telemetry/labels.py``): a new member has its own series.
"""

from enum import StrEnum


class Proposer(StrEnum):
    """Source of the proposals of a run."""

    MODEL = "model"
    MUTATION = "mutation"  # the built-in proposer: no language model
    REPLAY = "replay"  # a model's replies, recorded in an earlier run
    SUBMISSION = "submission"  # one program from a person or an agent outside


class ModelRole(StrEnum):
    """Task of a language model."""

    PLANNER = "planner"
    CODER = "coder"
    REVIEWER = "reviewer"
    JUDGE = "judge"


class CallOutcome(StrEnum):
    """Outcome of a call of a language model: quality of the reply, or why there was none."""

    OK = "ok"
    EMPTY = "empty"  # no text
    REFUSED = "refused"  # the model or its filter declined
    TRUNCATED = "truncated"  # stopped at the token limit before it was usable
    UNPARSABLE = "unparsable"  # text, but not what was asked for
    TIMEOUT = "timeout"  # from here on: no reply
    CONNECTION = "connection"
    MALFORMED = "malformed"  # an answer that is no chat completion
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    QUOTA = "quota"
    AUTHENTICATION = "authentication"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    CONTEXT_OVERFLOW = "context_overflow"
    CANCELLED = "cancelled"  # by us: the run was stopped while it was under way

    @property
    def received(self) -> bool:
        """Whether there was a reply, usable or not."""
        return self in _RECEIVED


_RECEIVED = frozenset(
    {
        CallOutcome.OK,
        CallOutcome.EMPTY,
        CallOutcome.REFUSED,
        CallOutcome.TRUNCATED,
        CallOutcome.UNPARSABLE,
    }
)


class NoteSubject(StrEnum):
    """Subject of what a gateway to models has to say while it works."""

    WAITING = "waiting"  # a call is tried again after a pause, or waits for others
    ENDPOINT = "endpoint"  # what a preflight found out
    LEARNT = "learnt"  # an endpoint is asked in another way from here on, or is not what it seems


class ReviewerName(StrEnum):
    """Reviewer that decided whether a program may run."""

    STATIC = "static"  # the rules of the static gate
    MODEL = "model"  # a language model, which can only add objections
    GATE = "gate"  # not known: ledgers written before 0.2 name either reviewer so


class GateRule(StrEnum):
    """Rule by which a reviewer refuses a program before it runs."""

    SYNTAX = "syntax"
    INTERFACE = "interface"
    SIZE = "size"
    LITERAL = "literal_size"  # data in the text, such as a clip or a bitstream
    REVIEW_LIMIT = "review_limit"  # reading it takes too much time or memory
    IMPORT = "import"
    STAR_IMPORT = "star_import"
    DUNDER = "dunder"
    BUILTIN = "builtin"
    PRIVATE = "private"
    LIBRARY_CODEC = "library_codec"  # the only rule that a policy may lift
    LIBRARY_VALUE = "library_value"
    UNLISTED_NAME = "unlisted_name"  # no list of what programs may use of a library has it
    FILE_ACCESS = "file_access"
    NATIVE_CODE = "native_code"
    UNSAFE_LOADING = "unsafe_loading"
    HOST_MODULE = "host_module"
    PROCESSES = "processes"
    DYNAMIC_ATTRIBUTE = "dynamic_attribute"
    PATCHING = "patching"
    MODEL_UNSAFE = "model/unsafe"  # from here on: objections of a model reviewer
    MODEL_CHEATING = "model/cheating"
    MODEL_INEXACT_DECODE = "model/inexact_decode"
    MODEL_SHARED_STATE = "model/shared_state"
    MODEL_CONTRACT = "model/contract"

    @property
    def of_model(self) -> bool:
        """Whether a model reviewer objects, and not the static gate."""
        return self.startswith("model/")


class VerdictRule(StrEnum):
    """The clause that decided whether a candidate becomes a version."""

    BASELINE = "baseline"  # a program that the run starts from: measured, not judged
    FIRST_UNDER_ADOPT = "first_under_adopt"  # the first version, below the adoption bitrate
    FIRST_CHANCE = "first_chance"  # the first version, below the chance bitrate
    BITRATE = "bitrate"  # enough fewer bits at equal quality
    COMPRESSION = "compression"  # a better compression ratio
    NOT_ENOUGH = "not_enough"
    UNCERTAIN = "uncertain"  # the interval over clips ends on the wrong side
    OVERFITTED = "overfitted"  # the gain is gone on held-out clips
    NONDETERMINISTIC = "nondeterministic"  # a second decode of a held-out clip gave other frames
    LIMITS = "limits"  # too slow, too large or too hungry
    SCREEN = "screen"  # dropped by the cheap comparison
    FAILED = "failed"  # nothing was measured
    VETOED = "vetoed"  # by a model judge


class RunPhase(StrEnum):
    """Whether a run is going on."""

    EMPTY = "empty"  # it has no event yet
    RUNNING = "running"
    STOPPED = "stopped"


class RunOutcome(StrEnum):
    """Why a run stopped; each but a finished one can be resumed."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"  # on request
    ENDPOINT_GONE = "endpoint_gone"  # the model endpoint stayed unreachable
    BUDGET = "budget"  # the limit on tokens or money is used up
    NO_PROGRESS = "no_progress"  # one failure of a model came again and again
    FAILED = "failed"


class Layer(StrEnum):
    """A layer of isolation, as each job reports it: ``on``, ``abi N`` or ``off: reason``."""

    NO_NEW_PRIVS = "no_new_privs"
    RLIMITS = "rlimits"
    CAPABILITIES = "capabilities"
    SECCOMP = "seccomp"
    LANDLOCK = "landlock"
    SCRATCH = "scratch"
    CGROUP = "cgroup"
    USER_NAMESPACE = "user_namespace"
    PID_NAMESPACE = "pid_namespace"
    NET_NAMESPACE = "net_namespace"
    MOUNT_NAMESPACE = "mount_namespace"
    IPC_NAMESPACE = "ipc_namespace"
    UTS_NAMESPACE = "uts_namespace"
    PIVOT_ROOT = "pivot_root"
    UNPRIVILEGED_USER = "unprivileged_user"
    PATH_BROKER = "path_broker"
    PATH_LOCK = "path_lock"
    READ_ONLY_FILES = "read_only_files"
    BUBBLEWRAP = "bubblewrap"


class AttackOutcome(StrEnum):
    """Outcome of an attack.

    ``unclear``: the attack did not run as intended. It proves nothing, and counts as a failure of
    the suite. ``documented``: the attack succeeded, but it is known and documented to need a layer
    that this machine lacks.
    """

    HELD = "held"
    BROKEN = "BROKEN"
    UNCLEAR = "unclear"
    DOCUMENTED = "documented"
