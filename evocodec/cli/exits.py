"""Exit codes: a contract with scripts, documented in ``evocodec --help`` and docs/cli.md."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of commands."""

    OK = 0
    FAILED = 1  # something of ours broke: infrastructure, or a bug
    USAGE = 2  # a person can fix it
    ENDPOINT = 3  # the model's endpoint is gone, its budget spent, or it is of no use; resumable
    CANDIDATE = 4  # the program given to eval failed
    INTERRUPTED = 130  # Ctrl-C or SIGTERM; resumable
