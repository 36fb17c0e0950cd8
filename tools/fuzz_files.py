"""Fuzzing of what is named: random files under random names, given to real commands.

Each try makes a folder of files, links, pipes and folders, runs one command line in this process,
and compares the folder before and after: nothing may change but what was named as an output, and
that only where it is new, ours, empty or forced. Every ending has to be a documented exit code with
words, and leaves no part of a file.

    python -m tools.fuzz_files --minutes 10 --seed 1
"""

import argparse
import hashlib
import os
import random
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typer.testing import CliRunner

from evocodec.cli.main import application
from tests.support.odd_media import make_clip_file

_STORE: Final = Path(__file__).resolve().parents[1] / "tests" / "data" / "store_codec.py"
_CODES: Final = {0, 2, 4}
_PIECES: Final = (
    *("a", "talk", "é", "%d", "%04d", "{}", "[", "*", "~", "-", "--", "@", "@0-1", "@12:30"),
    *(
        ":16x16",
        ":8x8+0+0",
        ",raw=16x16,25",
        ",fps=25",
        " ",
        "\n",
        "\t",
        '"',
        "'",
        "\\",
        "$",
        "=",
        "#",
    ),
    *(
        "\u202e",
        "\x1b[31m",
        "\udcff\udcfe",
        ".mp4",
        ".mkv",
        ".evc",
        ".y4m",
        ".png",
        "n" * 120,
        "s3:",
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, and the command line that did it."""

    what: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the folder: its type and permission bits, and what it holds or leads to."""

    mode: int
    content: str


class Samples:
    """One small file of each kind, made once."""

    def __init__(self, folder: Path) -> None:
        self.app = application()
        self.files: dict[str, bytes] = {"text": b"precious notes\n", "empty": b""}
        before = os.getcwd()
        os.chdir(folder)
        try:
            make_clip_file(Path("in.mkv"), frames=2, size="32x32")
            self.run("encode", "in.mkv", "in.evc", "--version", str(_STORE))
            self.run("decode", "in.evc", "in.y4m")
            self.files |= {name: Path(f"in.{name}").read_bytes() for name in ("mkv", "evc", "y4m")}
        finally:
            os.chdir(before)
        damaged = bytearray(self.files["evc"])
        damaged[len(damaged) // 2] ^= 1
        foreign = self.files["y4m"].replace(b" XEVOCODEC", b"", 1)
        self.files |= {"damaged": bytes(damaged), "foreign": foreign}
        self.workspace = folder / ".evocodec"

    def run(self, *words: str) -> tuple[int, str, BaseException | None]:
        """Exit code, what was said, and an exception that was nobody's."""
        result = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(self.app, list(words))
        wrong = result.exception if not isinstance(result.exception, SystemExit) else None
        return result.exit_code, result.output, wrong


def one_try(samples: Samples, seed: int) -> Finding | None:
    """Make a folder and run one command in it; returns what was wrong."""
    chance = random.Random(seed)
    before = os.getcwd()
    folder = Path(tempfile.mkdtemp(prefix="evocodec-fuzz-"))
    try:
        os.chdir(folder)
        shutil.copytree(samples.workspace, "w")
        kinds = _fill(samples, chance)
        words, output = _command(chance, kinds)
        readers = [os.open(name, os.O_RDONLY | os.O_NONBLOCK) for name in kinds if _is_fifo(name)]
        try:
            return _judged(samples, kinds, words, output)
        finally:
            for reader in readers:
                os.close(reader)
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def _judged(
    samples: Samples, kinds: Mapping[str, str], words: tuple[str, ...], output: str
) -> Finding | None:
    was = _snapshot()
    place = os.path.realpath(output) if output else ""
    # Of what the output leads to, if that is a file whose kind is known.
    kind = next((kinds[n] for n in kinds if os.path.realpath(n) == place and _is_file(n)), "")
    same_as_input = any(_same(output, word) for word in words if output and word != output)
    code, said, wrong = samples.run(*words)
    found = _snapshot()
    changed = {name for name in was.keys() | found.keys() if was.get(name) != found.get(name)}
    allowed = {os.path.relpath(place, os.path.realpath("."))} if output and code == 0 else set()
    problem = ""
    if wrong is not None or "unexpected" in said or "Traceback" in said:
        problem = f"not told in words: {wrong!r} {said[-300:]}"
    elif code not in _CODES:
        problem = f"exit code {code}: {said[-300:]}"
    elif code and not said.strip():
        problem = f"exit code {code} without a word"
    elif changed - allowed:
        problem = f"exit code {code}, and changed: {sorted(changed - allowed)}"
    elif changed and same_as_input:
        problem = "an input was written over"
    elif changed and "--force" not in words and kind not in {"", "empty", *_made_by(words[2])}:
        problem = f"a file of kind {kind} was replaced without --force"
    return Finding(problem, words) if problem else None


def _made_by(command: str) -> tuple[str, ...]:
    """Kinds that a command writes itself; damage in the middle does not change a kind."""
    return {"encode": ("evc", "damaged"), "decode": ("y4m",)}.get(command, ())


def _fill(samples: Samples, chance: random.Random) -> dict[str, str]:
    """Make things under random names; returns the kind of each."""
    kinds: dict[str, str] = {}
    for _ in range(chance.randint(2, 7)):
        name = _name(chance)
        if os.path.lexists(name):
            continue
        kind = chance.choice([*samples.files, "mkv", "evc", "fifo", "folder", "link", "hard"])
        others = [other for other in kinds if _is_file(other)]
        try:
            if kind == "fifo":
                os.mkfifo(name)
            elif kind == "folder":
                os.mkdir(name)
            elif kind == "link":
                os.symlink(chance.choice([*kinds, "nowhere", "/dev/null", name]), name)
            elif kind == "hard" and others:
                os.link(chance.choice(others), name)
            elif kind in samples.files:
                Path(name).write_bytes(samples.files[kind])
                Path(name).chmod(chance.choice([0o644, 0o600, 0o664]))
            else:
                continue
        except OSError:  # a name that is too long, for one
            continue
        kinds[name] = kind
    for name, kind in list(kinds.items()):
        if kind == "hard":
            known = (kinds[n] for n in kinds if n != name and _same(n, name))
            kinds[name] = next((k for k in known if k in samples.files), "text")
    return kinds


def _command(chance: random.Random, kinds: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """A command line, and the name of its output or nothing."""
    some = [
        *sorted(kinds),
        _name(chance),
        chance.choice(["-", ".", "w/clips.toml", "w/ledger.sqlite"]),
    ]
    which = chance.randrange(6)
    # Most inputs are of a kind that the command can read: it has to come as far as its output.
    right = [name for name in sorted(kinds) if kinds[name] == ("evc" if which in {2, 3} else "mkv")]
    source = chance.choice(right if right and chance.random() < 0.7 else some)
    output = chance.choice(some) if chance.random() < 0.7 else _name(chance)
    if output == "-":
        output = "./-"
    part = chance.choice(["", "", "", "@0-1", ":16x16", "@5", "@0-1:16x16"])
    force = ["--force"] if chance.random() < 0.3 else []
    head = ("-w", "w")
    match which:
        case 0 | 1:
            return (
                *(*head, "encode", *force, "--version", str(_STORE), "--", source + part, output),
            ), output
        case 2 | 3:
            return (*head, "decode", *force, "--", source, output), output
        case 4:
            picture = (f"--picture={output}",)
            return (*head, "clips", "describe", *picture, *force, "--", source), output
        case _:
            return (*head, "clips", "add", "--", "mine", source + part), ""


def _name(chance: random.Random) -> str:
    while True:
        name = "".join(chance.choices(_PIECES, k=chance.randint(1, 4)))
        if name not in {"-", ".", "..", "w"}:
            return name


def _snapshot() -> dict[str, Entry]:
    """Everything in the folder, but for what a workspace changes by being used."""
    found: dict[str, Entry] = {}
    for folder, folders, files in os.walk("."):
        for name in (*folders, *files):
            path = os.path.normpath(os.path.join(folder, name))
            if path.startswith(("w/cache", "w/blobs", "w/ledger.sqlite", "w/clips.toml")):
                continue
            status = os.lstat(path)
            content = ""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[path] = Entry(status.st_mode, content)
    return found


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _is_file(name: str) -> bool:
    return stat.S_ISREG(os.lstat(name).st_mode)


def _is_fifo(name: str) -> bool:
    return stat.S_ISFIFO(os.lstat(name).st_mode)


def main(arguments: Sequence[str]) -> int:
    """Try until the time is over, or a number of times; 1 if something was found."""
    parser = argparse.ArgumentParser(description="try random file names on real commands")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    until, tries, wrong = time.monotonic() + 60 * options.minutes, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        samples = Samples(Path(folder))
        while time.monotonic() < until:
            found = one_try(samples, options.seed + tries)
            if found is not None:
                wrong += 1
                sys.stdout.write(
                    f"seed {options.seed + tries}: {found.words!a}\n  {found.what!a}\n"
                )
                sys.stdout.flush()
            tries += 1
    sys.stdout.write(f"{tries} tries, {wrong} findings\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
