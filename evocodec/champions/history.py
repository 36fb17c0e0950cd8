"""History of versions: commits of the branch, read as bytes that somebody else may have written.

Commit objects are read whole and with their lengths, so that nothing in a message can pass for
another commit. What cannot be read is left out and reported as a problem; the rest stays usable.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from evocodec.champions.git import Git, explain
from evocodec.champions.messages import (
    Version,
    figure_problems,
    read_trailers,
    rollback_target,
    version_from,
)
from evocodec.domain.errors import InfrastructureFailure

_MOST_COMMITS = 100_000
_MOST_MESSAGE_BYTES = 1 << 20
_MOST_AHEAD = 1000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_COMMITTER = re.compile(rb"^committer [^\n]*> (-?\d{1,12}) ([+-])(\d\d)(\d\d)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class History:
    """Versions, oldest first; the number of the current one; and what is wrong, for people."""

    head: str = ""
    versions: tuple[Version, ...] = ()
    current: int = 0
    problems: tuple[str, ...] = ()


def read_history(git: Git, head: str) -> History:
    """Return the history that ends in the commit ``head``.

    Raises InfrastructureFailure when not even that commit can be read.
    """
    reading = _Reading()
    commits = _names(git, head, reading)
    for name, data in reversed(tuple(_commits(git, commits, reading))):
        reading.commit(name, data)
    return History(head, tuple(reading.versions.values()), reading.current, tuple(reading.problems))


class _Reading:
    """Takes commits, oldest first."""

    def __init__(self) -> None:
        self.versions: dict[int, Version] = {}
        self.current = 0
        self.problems: list[str] = []

    def problem(self, commit: str, what: str) -> None:
        self.problems.append(f"commit {commit[:10]} {what}")

    def commit(self, name: str, data: bytes) -> None:
        head, _, message = data.partition(b"\n\n")
        trailers, twice = read_trailers(message.decode("utf-8", "replace"))
        if twice:
            self.problem(name, f"has {', '.join(twice)} more than once: it is not counted")
            return
        if "Evocodec-Version" in trailers:
            self._adoption(name, _committed_at(head), trailers)
        elif "Evocodec-Rollback-To" in trailers:
            target = rollback_target(trailers)
            if target in self.versions:
                self.current = target
            else:
                self.problem(name, "goes back to a version that is not there: it is not counted")

    def _adoption(self, name: str, committed_at: str, trailers: dict[str, str]) -> None:
        version = version_from(trailers, name, committed_at)
        newest = max(self.versions, default=0)
        if version is None or version.version > newest + _MOST_AHEAD:
            claimed = trailers["Evocodec-Version"][:20]
            self.problem(name, f"claims version {claimed!r}, which is no number for the next one")
            return
        if version.version in self.versions:
            first = self.versions[version.version].commit[:10]
            self.problem(
                name, f"claims {version.tag} again, which is commit {first}: it is not counted"
            )
            return
        for problem in figure_problems(trailers):
            self.problem(name, f"({version.tag}) {problem}")
        self.versions[version.version] = version
        self.current = version.version


def _names(git: Git, head: str, reading: _Reading) -> list[str]:
    """Return the names of all commits, newest first."""
    result = git.attempt("rev-list", f"--max-count={_MOST_COMMITS}", head)
    names = [name for name in result.output.split() if _COMMIT.fullmatch(name)]
    if result.code != 0:
        if not names:
            raise InfrastructureFailure(
                f"the history of versions in {git.folder} cannot be read: {explain(result.errors)}"
            )
        reading.problems.append(
            f"the history before commit {names[-1][:10]} cannot be read: {explain(result.errors)}"
        )
    return names


def _commits(git: Git, names: list[str], reading: _Reading) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of commits, newest first."""
    sizes = git.run("cat-file", "--batch-check=%(objecttype) %(objectsize)", stdin=_lines(names))
    wanted = []
    for name, line in zip(names, sizes.splitlines(), strict=True):
        kind, _, size = line.partition(" ")
        if kind == "commit" and int(size) <= _MOST_MESSAGE_BYTES:
            wanted.append(name)
        else:
            reading.problem(name, f"has {size} bytes, which no adoption has: it is not read")
    data = git.run_bytes("cat-file", "--batch", stdin=_lines(wanted))
    place = 0
    for name in wanted:
        title, _, _ = data[place : place + 200].partition(b"\n")
        start = place + len(title) + 1
        end = start + int(title.split()[2])
        yield name, data[start:end]
        place = end + 1


def _lines(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _committed_at(head: bytes) -> str:
    """Return the time of a commit as git's ``%cI`` does; empty where there is none."""
    found = _COMMITTER.search(head)
    if found is None:
        return ""
    minutes = int(found[3]) * 60 + int(found[4])
    offset = timedelta(minutes=-minutes if found[2] == b"-" else minutes)
    try:
        zone = timezone(offset) if minutes else UTC
        return datetime.fromtimestamp(int(found[1]), zone).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
