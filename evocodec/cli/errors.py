"""The process edge: every error becomes one plain message and an exit code."""

import logging
import re
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from evocodec.cli.exits import ExitCode
from evocodec.cli.os_errors import as_user_error
from evocodec.cli.render.text import quote_block, sanitize
from evocodec.cli.session import Session
from evocodec.domain.errors import (
    CandidateFailure,
    EndpointUnavailable,
    InfrastructureFailure,
    SupersededError,
    UserError,
)
from evocodec.keys import known_keys
from evocodec.telemetry.redact import Redactor

ERROR_LOG: Final = "errors.log"
_ADVICE: Final = re.compile(
    r"[;.] +(?P<advice>(?:try|adopt|begin|check|choose|copy|did you mean|give|install|list|merge"
    r"|name|remove|rename|run|see|set|start|upgrade|use|`evocodec)\b.*)$",
    re.IGNORECASE,
)
_LEAD_IN: Final = re.compile(r"^(?:try|begin with|start (?:a run |anew )?with):? +", re.IGNORECASE)
_KEY_SETTING: Final = re.compile(r"(?i)(\b[\w.]*api_key\s*=\s*)\S+")
_log = logging.getLogger(__name__)


def without_keys(text: str) -> str:
    """Return a text without any key that this process was given; libraries put them into errors."""
    return _KEY_SETTING.sub(r"\1[hidden]", Redactor(known_keys())(text))


def report(session: Session, error: BaseException) -> ExitCode:
    """Say what went wrong on stderr (as JSON on stdout with ``--json``), and return the code."""
    match error:
        case CandidateFailure():
            return _candidate(session, error)
        case UserError() | SupersededError():
            what, advice = split_advice(str(error))
            return _say(session, ExitCode.USAGE, type(error).__name__, what, advice)
        case EndpointUnavailable():
            what, advice = split_advice(str(error))
            return _say(session, ExitCode.ENDPOINT, type(error).__name__, what, advice)
        case InfrastructureFailure():
            what, advice = split_advice(str(error))
            advice = advice or "evocodec doctor"
            _trace(session, error)
            return _say(session, ExitCode.FAILED, type(error).__name__, what, advice)
        case _:
            mistake = as_user_error(error)
            if mistake is None:
                return _unexpected(session, error)
            _keep(session, error)
            _trace(session, error)
            return report(session, mistake)


def split_advice(message: str) -> tuple[str, str]:
    """Return what happened, and what to do next, from a message of ours.

    Messages end in a clause such as ``try …``, ``check …`` or ``Name another …`` where there is
    something to do.
    """
    message = sanitize(without_keys(message))
    found = _ADVICE.search(message)
    if found is None:
        return message, ""
    return message[: found.start()], _LEAD_IN.sub("", found["advice"])


def _candidate(session: Session, error: CandidateFailure) -> ExitCode:
    message, detail = without_keys(error.message), without_keys(error.detail)
    if session.json:
        return _say(session, ExitCode.CANDIDATE, str(error.kind), message, "", detail)
    line = Text("candidate failed", style="bold red")
    line.append(f" ({sanitize(str(error.kind))}): ", style="default not bold")
    line.append(sanitize(message), style="default not bold")
    session.err.print(line)
    if detail:
        session.err.print(Text(quote_block(detail), style="dim"))
    return ExitCode.CANDIDATE


def _unexpected(session: Session, error: BaseException) -> ExitCode:
    path = _keep(session, error)
    _trace(session, error)
    said = sanitize(without_keys(str(error)))
    what = f"something unexpected happened: {type(error).__name__}: {said}"
    advice = f"the same with -v; the traceback is in {path}"
    return _say(session, ExitCode.FAILED, "Unexpected", what, advice)


def _say(
    session: Session, code: ExitCode, kind: str, what: str, advice: str, detail: str = ""
) -> ExitCode:
    if session.json:
        body: dict[str, Any] = {
            "type": kind,
            "message": sanitize(what),
            "try": advice,
            "code": code,
        }
        if detail:
            body["detail"] = sanitize(detail, lines=True)
        try:
            session.emit({"error": body})
        except OSError:  # stdout itself is what cannot be written: say it on stderr
            pass
        else:
            return code
    line = Text("error", style="bold red")
    line.append(f": {what}", style="default not bold")
    session.err.print(line, soft_wrap=True)
    if advice:
        session.err.print(Text(f"  try: {advice}"), soft_wrap=True)
    return code


def _trace(session: Session, error: BaseException) -> None:
    if session.options.verbose:
        lines = without_keys("".join(traceback.format_exception(error)))
        session.err.print(Text(sanitize(lines, lines=True)), soft_wrap=True)


def _keep(session: Session, error: BaseException) -> Path:
    """Append the traceback to a file that the message can name."""
    folder = session.options.workspace or Path(".evocodec")
    path = folder / ERROR_LOG
    lines = without_keys("".join(traceback.format_exception(error)))
    try:
        if not folder.is_dir():
            path = Path(tempfile.gettempdir()) / ERROR_LOG
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{lines}\n")
    except OSError as problem:
        _log.warning("cannot write %s: %s", path, problem)
    return path
