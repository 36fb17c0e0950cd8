"""The champion repository: adopted versions in a git repository of their own.

One commit and one annotated tag per adoption. A commit is built without the index and the work
tree, and becomes an adoption at one atomic moment, when the branch moves. The steps after that
(tag, work tree, push) are completed by the next call if a crash or a network failure came in
between.
"""

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evocodec.champions import git_folder
from evocodec.champions.git import Git, Identity, explain
from evocodec.champions.history import History, read_history
from evocodec.champions.messages import (
    METRICS_FILE,
    PROGRAM_FILE,
    README_FILE,
    AdoptionEntry,
    Version,
    adoption_message,
    metrics_json,
    read_trailers,
    readme,
    rollback_message,
    version_from,
)
from evocodec.codec.program import Program
from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.input_file import user_path

DEFAULT_AUTHOR = "Evocodec <evocodec@localhost>"

_log = logging.getLogger(__name__)
_BRANCH = git_folder.BRANCH
_MOST_FILE_BYTES = 16 << 20
_REFS = (f"{_BRANCH}:{_BRANCH}", "refs/tags/v*:refs/tags/v*")
_LOCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PushResult:
    """Whether the remote has all versions; ``error`` says why not; empty without a remote."""

    pushed: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Adoption:
    """A version that is committed and tagged; pushed or not."""

    version: int
    commit: str
    tag: str
    pushed: bool
    push_error: str = ""


class ChampionRepository:
    """The git repository at ``path``, created when the first version is adopted.

    *Ownership.* It owns the branch ``main``, the tags ``vN`` and the files codec.py, metrics.json
    and README.md; other files and commits are kept. A person's changes in the work tree are never
    overwritten: then the work tree is not updated, and a log line says so.

    *Threads and processes.* Any may call at any time; writers take turns.

    Raises UserError when git is missing, or ``path`` holds something else; InfrastructureFailure
    when git fails.
    """

    def __init__(
        self, path: Path, *, remote: str | None = None, author: str = DEFAULT_AUTHOR
    ) -> None:
        self.path = path.absolute()
        self.remote = _absolute_remote(remote) if remote else None
        self._git = Git(self.path, Identity.parse(author))

    def prepare(self) -> None:
        """Create the repository, with the versions of the remote if it has some.

        Adopting does this too; call it at the start of a run that continues from versions of
        another machine. A remote that does not answer is logged, and the repository starts empty.
        """
        with self._writing():
            self._prepare()

    def adopt(self, entry: AdoptionEntry) -> Adoption:
        """Make a program the next version, and the current one.

        Adopting the same run and candidate again returns the existing version, and completes any
        missing step. A failed push is reported in the result and never undoes the adoption.
        """
        with self._writing():
            self._prepare()
            history = self._history()
            version = _find(history, entry) or self._commit_adoption(entry, history)
            self._repair_tags()
            self._sync_work_tree()
        result = self.push()
        return Adoption(version.version, version.commit, version.tag, result.pushed, result.error)

    def rollback(self, version: int, reason: str) -> Version:
        """Make an older version current again, in a new commit; the history stays.

        Raises UserError for a version that does not exist. A failed push is logged.
        """
        _require(self.versions(), version)
        with self._writing():
            history = self._history()
            target = _require(history.versions, version)
            if history.current != version:
                files = {
                    PROGRAM_FILE: self._show(target.commit, PROGRAM_FILE),
                    METRICS_FILE: self._show(target.commit, METRICS_FILE),
                    README_FILE: readme(history.versions, version),
                }
                self._commit(files, rollback_message(version, reason), history.head)
            self._repair_tags()
            self._sync_work_tree()
        result = self.push()
        if result.error:
            _log.warning("going back to v%d is not pushed: %s", version, result.error)
        return target

    def versions(self) -> tuple[Version, ...]:
        """Return all adopted versions, oldest first."""
        return self._history().versions

    def problems(self) -> tuple[str, ...]:
        """Return what commits claim that is not counted, and why; for people."""
        return self._history().problems

    def current(self) -> Version | None:
        """Return the current version: the newest, or one rolled back to; None before the first."""
        history = self._history()
        return _require(history.versions, history.current) if history.current else None

    def program(self, version: int) -> Program:
        """Return the program of a version, checked against the hash in its commit.

        Raises UserError for a version that does not exist, InfrastructureFailure for a damaged one.
        """
        found = _require(self.versions(), version)
        data = self._show(found.commit, PROGRAM_FILE)
        if hashlib.sha256(data).hexdigest() != found.source_sha256:
            raise InfrastructureFailure(
                f"the program of {found.tag} in {self.path} is not the one that was adopted: "
                "its SHA-256 differs from the commit's trailer"
            )
        try:
            return Program(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            message = f"the program of {found.tag} in {self.path} is not UTF-8 text"
            raise InfrastructureFailure(message) from error

    def push(self) -> PushResult:
        """Push the branch and all tags to the remote, with what failed before.

        It never forces: a remote with other commits refuses, and the result says so.
        """
        if self.remote is None or not self._head():
            return PushResult(pushed=False)
        result = self._git.network("push", "--porcelain", "--atomic", "--", self.remote, *_REFS)
        if result.code == 0:
            return PushResult(pushed=True)
        if "[rejected]" in result.output:
            error = (
                "the remote has commits or tags that this repository does not have, and nothing is "
                f"overwritten. Merge them in {self.path}, or choose another remote"
            )
        else:
            error = _first_complaint(result.errors)
        return PushResult(pushed=False, error=f"{error} (tried again at the next adoption)")

    def _prepare(self) -> None:
        if not git_folder.exists(self.path):
            git_folder.create(self.path)
        if self.remote is None or self._head():
            return
        # --update-head-ok: the branch is checked out, but has no commit and no files yet.
        result = self._git.network("fetch", "-q", "--update-head-ok", "--", self.remote, *_REFS)
        if result.code == 0:
            self._sync_work_tree()
        elif "couldn't find remote ref" not in result.errors:
            _log.warning("the remote of champions gives no versions: %s", result.errors)

    def _head(self) -> str:
        if not git_folder.exists(self.path):
            return ""
        return self._git.attempt("rev-parse", "--verify", "--quiet", _BRANCH).output.strip()

    def _history(self) -> History:
        head = self._head()
        return read_history(self._git, head) if head else History()

    def _commit_adoption(self, entry: AdoptionEntry, history: History) -> Version:
        number = max((version.version for version in history.versions), default=0) + 1
        data, source_sha256 = entry.program.data, entry.program.sha256
        message = adoption_message(entry, number, source_sha256)
        preview = version_from(read_trailers(message)[0], "", entry.at)
        listed = (*history.versions, preview) if preview else history.versions
        files = {
            PROGRAM_FILE: data,
            METRICS_FILE: metrics_json(entry, number, source_sha256),
            README_FILE: readme(listed, number),
        }
        self._commit(files, message, history.head, at=entry.at)
        return _require(self.versions(), number)

    def _commit(self, files: Mapping[str, bytes], message: str, head: str, *, at: str = "") -> None:
        # A private index, so that neither a lock nor the staged work of a person matters.
        with tempfile.TemporaryDirectory(dir=self.path / ".git", prefix="adopt-") as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            if head:
                self._git.run("read-tree", head, variables=index)
            for name, data in files.items():
                blob = self._git.run("hash-object", "-w", "--stdin", stdin=data).strip()
                named = ("--cacheinfo", f"100644,{blob},{name}")
                self._git.run("update-index", "--add", "--replace", *named, variables=index)
            tree = self._git.run("write-tree", variables=index).strip()
        dates = {"GIT_AUTHOR_DATE": _git_date(at), "GIT_COMMITTER_DATE": _git_date(at)}
        parents = ("-p", head) if head else ()
        commit = self._git.run(
            "commit-tree",
            tree,
            *parents,
            stdin=message.encode("utf-8"),
            variables=dates if at else {},
        ).strip()
        title = message.splitlines()[0]
        self._git.run("update-ref", "-m", title, _BRANCH, commit, head or "0" * 40)

    def _repair_tags(self) -> None:
        present = set(self._git.run("tag", "--list").split())
        for version in self.versions():
            if version.tag not in present:
                text = f"{version.tag} of {version.run_id} {version.candidate_id}"
                self._git.run("tag", "-a", version.tag, "-m", text, version.commit)

    def _sync_work_tree(self) -> None:
        """Check out the current version in the work tree; it is only for people, so it may fail."""
        if not git_folder.shows_branch(self.path):
            _log.warning("%s shows another branch than main; its files are left alone", self.path)
            return
        index = {"GIT_INDEX_FILE": str(self.path / ".git" / "index")}
        self._git.attempt("update-index", "-q", "--refresh", variables=index)
        if self._git.attempt("diff-files", "--quiet", variables=index).code != 0:
            _log.warning("%s has changes that are not committed; they are kept", self.path)
            return
        result = self._git.attempt("read-tree", "-u", "--reset", _BRANCH, variables=index)
        if result.code != 0:
            _log.warning("the files in %s are not current: %s", self.path, explain(result.errors))

    def _show(self, commit: str, name: str) -> bytes:
        place = f"{commit}:{name}\n".encode()
        told = self._git.run("cat-file", "--batch-check=%(objecttype) %(objectsize)", stdin=place)
        kind, _, size = told.strip().partition(" ")
        if kind != "blob" or int(size) > _MOST_FILE_BYTES:
            raise InfrastructureFailure(
                f"commit {commit[:10]} in {self.path} has no {name} that can be read: {told[:80]!r}"
            )
        return self._git.run_bytes("cat-file", "blob", f"{commit}:{name}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # Two runs, or two threads, would otherwise give the same number to different programs.
        folder = self.path / ".git"
        # Asked for last: another thread that begins here makes it before anything else.
        others = self.path.is_dir() and any(child != folder for child in self.path.iterdir())
        if others and not folder.exists():
            raise UserError(
                f"{self.path} is not empty and is no git repository; choose another place for "
                "champions with --set champions.path=FOLDER"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            git_folder.require_plain(folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(folder / "evocodec.lock", flags, 0o644)
        except OSError as error:
            raise UserError(
                f"champions cannot be kept in {self.path}: {error.strerror}. Choose another place "
                "with --set champions.path=FOLDER"
            ) from error
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise InfrastructureFailure(
                        f"another process has been writing to {self.path} for {_LOCK_SECONDS:g} s"
                    )
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _find(history: History, entry: AdoptionEntry) -> Version | None:
    wanted = (entry.run_id, entry.candidate_id)
    found = (v for v in history.versions if (v.run_id, v.candidate_id) == wanted)
    return next(found, None)


def _require(versions: tuple[Version, ...], number: int) -> Version:
    for version in versions:
        if version.version == number:
            return version
    known = ", ".join(version.tag for version in versions) or "none yet"
    raise UserError(f"there is no version v{number}; the adopted ones are: {known}")


def _git_date(at: str) -> str:
    # Without a zone git would read local time; events are in UTC.
    zoned = at.endswith("Z") or "+" in at[10:] or "-" in at[10:]
    return at if zoned else f"{at}+00:00"


def _absolute_remote(remote: str) -> str:
    """Return a path as an absolute path, because git runs in another folder; URLs stay."""
    head, colon, _ = remote.partition(":")
    is_url = "://" in remote or (colon and "/" not in head and not Path(remote).exists())
    return remote if is_url else str(user_path(remote).absolute())


def _first_complaint(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.startswith(("fatal:", "error:"))]
    return lines[0] if lines else errors[-300:] or "git push failed without a message"
