"""Session: the global options, output streams and laboratory that every command uses."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from evocodec.app import Laboratory
    from evocodec.config import Settings

WIDTH_WITHOUT_TERMINAL = 120
CI_VARIABLES = ("CI", "GITHUB_ACTIONS")


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """Options that are accepted before and after the command's name."""

    workspace: Path | None = None
    config: Path | None = None
    assignments: tuple[str, ...] = ()
    json: bool = False
    verbose: bool = False

    def merged(self, later: "GlobalOptions") -> "GlobalOptions":
        """Return both together; the later option on the command line wins."""
        return GlobalOptions(
            workspace=later.workspace or self.workspace,
            config=later.config or self.config,
            assignments=self.assignments + later.assignments,
            json=self.json or later.json,
            verbose=self.verbose or later.verbose,
        )


@dataclass(slots=True)
class Session:
    """One invocation: where it writes, and how it reaches the laboratory."""

    options: GlobalOptions = field(default_factory=GlobalOptions)
    _out: Console | None = None
    _err: Console | None = None
    _named: bool = False
    _stdout_is_taken: bool = False

    @property
    def json(self) -> bool:
        """Whether stdout carries JSON and nothing else."""
        return self.options.json

    @property
    def out(self) -> Console:
        """Results."""
        if self._out is None:
            self._out = make_console(stderr=self._stdout_is_taken)
        return self._out

    def leave_stdout(self) -> None:
        """Write results to stderr from now on: a file that was asked for goes to stdout.

        Raises:
            UserError: ``--json`` wants stdout as well.
        """
        if self.json:
            from evocodec.domain.errors import UserError

            raise UserError("--json and the output both want stdout; name a file for the output")
        self._stdout_is_taken, self._out = True, None

    @property
    def err(self) -> Console:
        """Messages, warnings and progress that are not results."""
        if self._err is None:
            self._err = make_console(stderr=True)
        return self._err

    @property
    def live(self) -> bool:
        """Whether a display may redraw itself: a terminal outside of a CI system."""
        return self.out.is_terminal and not self.out.is_dumb_terminal and not in_ci()

    def origin_of(self, name: str) -> str:
        """Where a setting has its value from; empty: its default."""
        from evocodec.config import origin_of, parse_assignment

        if name == "workspace" and self.options.workspace is not None:
            return "--workspace"
        given = dict(parse_assignment(text) for text in self.options.assignments)
        return origin_of(name, file=self.options.config, flags=given)

    def settings(self, flags: Mapping[str, Any] | None = None) -> "Settings":
        """Merge file, environment, ``--set`` and the command's flags, the last one winning."""
        # Imported late, as below: --help and completion must answer at once.
        from evocodec.config import load_settings, parse_assignment

        merged = dict(parse_assignment(text) for text in self.options.assignments)
        if self.options.workspace is not None:
            merged["workspace"] = self.options.workspace
        merged.update({name: value for name, value in (flags or {}).items() if value is not None})
        self._name_file()
        return load_settings(file=self.options.config, flags=merged)

    def _name_file(self) -> None:
        """Print once which settings file is read when none was named."""
        from evocodec.cli.render.text import sanitize
        from evocodec.config import settings_file

        if self.options.config is not None or self._named:
            return
        found = settings_file()
        self._named = True
        if found is not None:
            self.err.print(Text(f"settings from {sanitize(str(found.path))}"), soft_wrap=True)

    @contextmanager
    def laboratory(self, flags: Mapping[str, Any] | None = None) -> Iterator["Laboratory"]:
        """Open the laboratory with these flags, and close it."""
        with self.laboratory_of(self.settings(flags)) as laboratory:
            yield laboratory

    @contextmanager
    def laboratory_of(self, settings: "Settings") -> Iterator["Laboratory"]:
        """Open the laboratory of these settings, and close it."""
        from evocodec.app import Laboratory

        with Laboratory.open(settings) as laboratory:
            yield laboratory

    def restore_terminal(self) -> None:
        """Leave the picture and show the cursor, for a process that ends without cleaning up."""
        if self.out.is_terminal:
            self.out.print()
            self.out.show_cursor(True)

    def show(self, renderable: RenderableType = "", *, soft_wrap: bool = False) -> None:
        """Write to stdout; ``soft_wrap`` leaves long lines whole, as does text with no_wrap."""
        whole = isinstance(renderable, Text) and bool(renderable.no_wrap)
        self.out.print(renderable, soft_wrap=soft_wrap or whole)

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines to stdout as they are, and all of them at once: a pipe may be watching."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def emit(self, payload: Mapping[str, Any]) -> None:
        """Write one JSON document on one line of stdout."""
        emit_line(payload)

    def emit_pretty(self, payload: Mapping[str, Any]) -> None:
        """Write one JSON document over several lines of stdout."""
        sys.stdout.write(json.dumps(payload, indent=2, allow_nan=False) + "\n")
        sys.stdout.flush()


def program_text(session: Session) -> str:
    """Return how to call us again on the same workspace."""
    workspace = session.options.workspace
    program = _program()
    return program if workspace is None else f"{program} -w {shlex.quote(str(workspace))}"


def _program() -> str:
    """Return how this program is called from here: its name where PATH has it, else its path."""
    typed = Path(sys.argv[0])
    if shutil.which("evocodec") or typed.name != "evocodec" or not typed.exists():
        return "evocodec"
    return shlex.quote(os.path.relpath(typed))


def emit_line(payload: Mapping[str, Any]) -> None:
    """Write one JSON document on one line of stdout, at once: a pipe may be watching.

    ASCII only: a C1 control in a program's text would act on the terminal that shows the JSON.
    """
    sys.stdout.write(json.dumps(payload, allow_nan=False) + "\n")
    sys.stdout.flush()


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that never reads markup, emoji codes or highlights in what it prints."""
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def in_ci() -> bool:
    """Return whether a CI system runs us: its log cannot be redrawn even if it is a terminal."""
    return any(os.environ.get(name, "").lower() not in {"", "0", "false"} for name in CI_VARIABLES)
