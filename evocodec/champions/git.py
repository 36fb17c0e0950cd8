"""Git commands, run so that no configuration, hook or environment changes what they do.

Each command gets a git folder of our own making (``git_folder.py``): what ``config``, attributes or
hooks of a repository say is never read. Local commands ignore the user's and the system's
configuration too, may use no protocol and get almost no environment. Only network commands read the
configuration of the user, because credentials, proxies and host keys are there; even these cannot
prompt, run hooks or sign, and they have a time limit.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from evocodec.champions.git_folder import own_git_folder
from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.keys import environment_of_the_users_tools

_LOCAL_SECONDS = 60.0
_NETWORK_SECONDS = 120.0
_DRAIN_SECONDS = 5.0
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.symlinks=false",
    "core.autocrlf=false",
    "core.commitGraph=false",
    "core.pager=cat",
    "core.fsync=all",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "push.gpgSign=false",
    "log.showSignature=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
)
_NO_PROTOCOL = "protocol.allow=never"
# Those of git that say what is read, whatever configuration there is.
_VARIABLES = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ATTR_NOSYSTEM": "1",
}
_LOCAL = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_EDITOR": "false",
    "GIT_ASKPASS": "false",
    # The empty tree: attributes that a version carries would only change how files are written.
    "GIT_ATTR_SOURCE": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
}
# What starting a program needs, and nothing of the user's: no key, no home folder.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
# Set when git itself calls us, from a hook or an alias: they would redirect every command.
_REDIRECTING = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_LOCK = re.compile(r"'([^']+\.lock)'")


@dataclass(frozen=True, slots=True)
class GitResult:
    """Result of a command; ``errors`` contains no credentials."""

    code: int
    data: bytes
    errors: str

    @property
    def output(self) -> str:
        """What the command printed, as text."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Identity:
    """Name and e-mail address of the committer."""

    name: str
    email: str

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Read ``Name <email>``. Raises UserError for anything else."""
        match = re.fullmatch(r"\s*([^<>\n]+?)\s*<([^<>\s]+)>\s*", text)
        if match is None:
            raise UserError(f"author {text!r} is not of the form: Name <email>")
        return cls(match[1], match[2])


@dataclass(frozen=True, slots=True)
class Git:
    """``git`` in one repository; stateless and thread-safe."""

    folder: Path
    identity: Identity

    def run(
        self, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> str:
        """Run a local command and return its output.

        Raises InfrastructureFailure when it fails; explains a lock file that a dead process left.
        """
        return self._required(arguments, stdin, variables).output

    def run_bytes(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run a local command as ``run`` does, and return its output as it came."""
        return self._required(arguments, stdin, None).data

    def _required(
        self, arguments: tuple[str, ...], stdin: bytes, variables: Mapping[str, str] | None
    ) -> GitResult:
        result = self.attempt(*arguments, stdin=stdin, variables=variables)
        if result.code != 0:
            raise InfrastructureFailure(
                f"git {arguments[0]} failed in {self.folder}: {explain(result.errors)}"
            )
        return result

    def attempt(
        self, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> GitResult:
        """Run a local command and return its result."""
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= _LOCAL | dict(variables or {})
        return self._start((_NO_PROTOCOL,), arguments, stdin, environment, _LOCAL_SECONDS)

    def network(self, *arguments: str) -> GitResult:
        """Run a command that talks to a remote, with the user's own configuration."""
        inherited = environment_of_the_users_tools()
        environment = {k: v for k, v in inherited.items() if k not in _REDIRECTING}
        return self._start((), arguments, b"", environment, _NETWORK_SECONDS)

    def _start(
        self,
        settings: tuple[str, ...],
        arguments: tuple[str, ...],
        stdin: bytes,
        environment: dict[str, str],
        seconds: float,
    ) -> GitResult:
        program = shutil.which("git")
        if program is None:
            raise UserError(
                "git is not installed; adopted versions live in a git repository. "
                "Install it, for example with: apt-get install git"
            )
        environment |= _VARIABLES | {
            "GIT_AUTHOR_NAME": self.identity.name,
            "GIT_AUTHOR_EMAIL": self.identity.email,
            "GIT_COMMITTER_NAME": self.identity.name,
            "GIT_COMMITTER_EMAIL": self.identity.email,
        }
        with own_git_folder(self.folder) as own:
            command = [program]
            for setting in (*_SETTINGS, *settings):
                command += ["-c", setting]
            command += [f"--git-dir={own}", f"--work-tree={self.folder}", *arguments]
            result = self._wait(command, stdin, environment, seconds)
        real = str(self.folder / ".git")
        return replace(result, errors=result.errors.replace(str(own), real))

    def _wait(
        self, command: list[str], stdin: bytes, environment: dict[str, str], seconds: float
    ) -> GitResult:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=self.folder,
            # Without a terminal, ssh cannot ask for anything; and its group can be ended as one.
            start_new_session=True,
        )
        with process:
            try:
                output, errors = process.communicate(stdin, timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                # A daemon that ssh left behind may never close the pipes.
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=_DRAIN_SECONDS)
                return GitResult(124, b"", f"no answer within {seconds:g} seconds")
        return GitResult(process.returncode, output, redact(errors))


def redact(errors: bytes) -> str:
    """Return git's messages without the credentials that a URL may hold."""
    return _CREDENTIALS.sub("***", errors.decode("utf-8", "replace")).strip()


def explain(errors: str) -> str:
    """Return git's messages; for a lock file, with what to do about it."""
    lock = _LOCK.search(errors)
    if lock is None or "File exists" not in errors:
        return errors
    return (
        f"{lock[1]} exists, so another git command is at work there, or one was killed there. "
        f"If none is running, delete the file and try again: rm '{lock[1]}'"
    )
