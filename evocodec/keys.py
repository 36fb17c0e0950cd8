"""Keys: removed from this process's environment at its start, and from all output.

Every process that is started inherits the environment: Ray's, ffmpeg, git, sandboxes. None of them
needs a key of the model or of AWS, so these are moved into this module's memory before the first is
started; settings and boto3 get them from here.
"""

import os
import re
from collections.abc import Collection, Iterable, MutableMapping
from pathlib import Path

_OF_AWS = frozenset(
    {
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_SECURITY_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    }
)
_LOOKS_SECRET = re.compile(
    r"(?:^|_)(?:API_?KEY|ACCESS_KEY|SECRET(?:_KEY)?|TOKEN|PASSWORD|PASSWD|CREDENTIALS?|PAT)$"
)
# A section of settings as one JSON text may hold a key, headers and URLs may.
_OF_MODEL = re.compile(
    r"EVOCODEC_MODEL(?:__(?:PLANNER|CODER|REVIEWER|JUDGE))?(?:__(?:HEADERS(?:__.+)?|PROXY|BASE_URL))?"
)
# Ray's own processes need its token: it is what they know each other by.
_NEEDED_BY_OTHERS = re.compile(r"RAY_")
_RAY_TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105 - a variable's name

_held: dict[str, str] = {}
_remembered: set[str] = set()


def hide_keys(environment: MutableMapping[str, str] = os.environ) -> None:
    """Take the keys out of the environment; call it before any process is started."""
    names = [name for name in environment if is_key(name)]
    for name in names:
        _held[name] = environment.pop(name)
    if names and environment is os.environ:
        _wipe_initial_environment({os.fsencode(name) for name in names})


def _wipe_initial_environment(names: Collection[bytes]) -> None:
    """Overwrite variables in the memory that ``/proc/PID/environ`` shows, where there is one.

    It holds what the process was started with, and each child has it between fork and exec. Nothing
    else reads it any more: the variables have left the C library's table. Its address is in fields
    50 and 51 of proc_pid_stat(5).
    """
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        start, end = int(fields[47]), int(fields[48])
        with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            variables = memory.read(end - start).split(b"\0")
            for number, variable in enumerate(variables):
                if variable.partition(b"=")[0] in names:
                    variables[number] = bytes(len(variable))
            memory.seek(start)
            memory.write(b"\0".join(variables))
    except (OSError, ValueError, IndexError):
        return  # another system, or a kernel that does not allow it: the threat model names it


def is_key(name: str) -> bool:
    """Return whether a variable of this name holds a key that no other process needs."""
    upper = name.upper()
    if _NEEDED_BY_OTHERS.match(upper):
        return False
    return upper in _OF_AWS or bool(_LOOKS_SECRET.search(upper) or _OF_MODEL.fullmatch(upper))


def environment_with_keys() -> dict[str, str]:
    """Return this process's environment as it would be with the keys."""
    return {**_held, **os.environ}


def environment_of_the_users_tools() -> dict[str, str]:
    """Return the environment for a tool that acts for the user, such as git's push.

    It has the user's tokens for other services, and neither those of the model nor those of AWS.
    """
    ours = {
        name
        for name in _held
        if name.upper() in _OF_AWS or name.upper().startswith(("EVOCODEC_", "OPENAI_"))
    }
    found = environment_with_keys()
    return {name: value for name, value in found.items() if name not in ours}


def remember(secrets: Iterable[str]) -> None:
    """Let ``known_keys`` know of keys that came another way, such as from a settings file."""
    _remembered.update(filter(None, secrets))


def known_keys() -> tuple[str, ...]:
    """Return every key that this process was given: what nothing may show."""
    present = (value for name, value in os.environ.items() if is_key(name) or name == _RAY_TOKEN)
    # A section of settings is no key itself; its key is remembered when the settings are read.
    held = (value for name, value in _held.items() if not _OF_MODEL.fullmatch(name.upper()))
    return tuple({*present, *held, *_remembered})
