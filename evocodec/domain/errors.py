"""Errors that one part of Evocodec raises for another, on purpose.

::

    EvocodecError
    ├── UserError (ValueError)              a person can fix it; message says how; no traceback
    │   ├── ConfigError
    │   ├── SourceError                     a video file that is missing, empty or unreadable
    │   └── ContainerError                  a truncated, foreign or hostile .evc file
    ├── CandidateFailure (RuntimeError)     the program under test failed; never retried
    ├── InfrastructureFailure (OSError)     our side failed; retried, never blamed on a candidate
    ├── EndpointUnavailable (ConnectionError)   the model endpoint is gone; the run stops
    │   └── BudgetExhausted
    ├── Interrupted                         the run was asked to stop; it can resume
    ├── ReaderGone                          nobody reads a pipe any more: the command ends quietly
    └── SupersededError                     another controller resumed the run: this one lets go

Three outcomes never mix: the candidate failed, the infrastructure failed, the user made a mistake.

An exception that never leaves its package (a lost task that is tried again, a reply that did not
come) stands outside this tree: whoever catches an EvocodecError must not catch one by accident.
``tests/unit/test_errors.py`` lists them, each with where it ends.
"""

from enum import StrEnum


class EvocodecError(Exception):
    """Root of every error raised on purpose."""


class UserError(EvocodecError, ValueError):
    """A mistake that a person can fix; the message says what happened, why, and what to type."""


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or out of range."""


class SourceError(UserError):
    """A video source is missing, empty, or not something ffmpeg can decode."""


class ContainerError(UserError):
    """A .evc file is truncated, of an unknown version, or breaks its own bounds."""


class FailureKind(StrEnum):
    """Why a candidate failed; stable names that records, metrics and prompts use."""

    REVIEW = "review"  # refused by the static gate or the model reviewer
    NO_CODE = "no_code"  # the proposer produced nothing that is a program
    DUPLICATE = "duplicate"  # same normalised program as one already evaluated
    EXCEPTION = "exception"  # the program raised
    TIMEOUT = "timeout"  # wall-clock or CPU limit
    MEMORY = "memory"  # memory limit
    CRASH = "crash"  # died by a signal, or exited without finishing
    FORBIDDEN = "forbidden"  # the sandbox stopped a forbidden operation
    OUTPUT_LIMIT = "output_limit"  # more bytes or frames than allowed
    BAD_OUTPUT = "bad_output"  # wrong count, shape, dtype, or malformed framing
    NONDETERMINISTIC = "nondeterministic"  # two decodes differ
    QUALITY = "quality"  # the curve cannot be compared: no overlap, or not monotonic


class CandidateFailure(EvocodecError, RuntimeError):  # noqa: N818 - a failure, not a bug
    """The program under test failed; carries what a coder needs to repair it.

    ``detail`` is untrusted text (a traceback, the tail of stderr): show it, never interpret it.
    """

    def __init__(self, kind: FailureKind, message: str, *, detail: str = "") -> None:
        super().__init__(kind, message, detail)
        self.kind = kind
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_candidate_failure, (self.kind, self.message, self.detail))


def _rebuild_candidate_failure(kind: FailureKind, message: str, detail: str) -> CandidateFailure:
    return CandidateFailure(kind, message, detail=detail)


class InfrastructureFailure(EvocodecError, OSError):  # noqa: N818
    """A failure on our side (a lost worker, a sandbox that did not start); it is retried."""


class EndpointUnavailable(EvocodecError, ConnectionError):  # noqa: N818
    """The model endpoint stayed unreachable through every retry; the run stops and can resume."""


class BudgetExhausted(EndpointUnavailable):
    """The configured limit on tokens or money is used up; the run stops and can resume."""


class Interrupted(EvocodecError):  # noqa: N818 - a request, not a bug
    """The run was asked to stop; nothing is wrong, and it can be resumed."""


class ReaderGone(EvocodecError):  # noqa: N818 - a request, not a bug
    """The program that read our output has closed the pipe (``… | head``): nothing is wrong."""


class SupersededError(EvocodecError):
    """Another controller has resumed this run: this one must not write to it any more."""
