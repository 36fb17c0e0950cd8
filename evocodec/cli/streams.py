"""Standard streams: all three open, able to write any text, and flushed with an error of words."""

import os
import sys
from typing import TextIO

from evocodec.cli.exits import ExitCode
from evocodec.output_file import CLOSED_STREAMS


def prepare_streams() -> None:
    """Make the streams of this process safe to use, whatever the shell and the locale made them.

    A stream that was closed (``>&-``) becomes /dev/null: its number would otherwise be that of the
    next file that is opened, and what a library prints would go into that file. Text that the
    encoding of the locale lacks is written by its escape.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            CLOSED_STREAMS.add(number)
    sys.stdout = _usable(sys.stdout)
    sys.stderr = _usable(sys.stderr)


def flush_stdout() -> None:
    """Write what is left for stdout; ends the process with a message when that cannot be done."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
    except OSError as error:
        _forget_stdout()
        sys.stderr.write(f"error: cannot write to stdout: {error.strerror or error}\n")
        raise SystemExit(ExitCode.USAGE) from None


def _forget_stdout() -> None:
    """Let the interpreter flush into nothing at its end, where it would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usable(stream: TextIO | None) -> TextIO:
    if stream is None:  # Python found it closed
        return open(os.devnull, "w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream
