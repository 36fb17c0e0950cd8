"""A ledger in one SQLite file: for a laptop, and for a single controller.

The file is in write-ahead mode with ``synchronous=FULL``: every commit is flushed to the disk
before ``record`` returns. ``NORMAL`` would be faster, but may lose the last commits at a power
failure, after the next step has already relied on them; a run records a few events a second, so a
flush each (about a millisecond on an SSD) costs nothing that anyone can see.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.domain.events import Event
from evocodec.store.event_json import event_from_json, event_to_json

SCHEMA_VERSION = 1

_log = logging.getLogger(__name__)
_APPLICATION_ID = 0x45564C47  # "EVLG"
_BUSY_SECONDS = 30.0
_PAGE_EVENTS = 500
_SCHEMA = (
    """CREATE TABLE schema_version (version INTEGER NOT NULL)""",
    """CREATE TABLE events (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL,
        key TEXT NOT NULL,
        candidate_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        at TEXT NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (run_id, key)
    )""",
    """CREATE INDEX events_of_run ON events (run_id, position)""",
    """CREATE INDEX events_of_candidate ON events (run_id, candidate_id, position)""",
)


class SqliteLedger:
    """A Ledger in the file ``path``, which is made, with its folder, when it is not there.

    With ``read_only=True`` nothing is made or written: for ``status`` beside a run. Raises
    UserError when the file is missing (read-only), is no ledger, or is of a newer version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        # One connection, and transactions belong to a connection: without the lock, statements
        # of one thread would land between those of another and share its commit.
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        if read_only and not path.is_file():
            raise UserError(f"there is no ledger at {path}; start a run with: evocodec run")
        connection = _open(path, read_only=read_only)
        try:
            _prepare(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def record(self, event: Event) -> bool:
        """See Ledger."""
        row = (
            event.run_id,
            event.key,
            event.candidate_id,
            event.kind,
            event.at,
            event_to_json(event),
        )
        # One statement outside a transaction is its own atomic commit.
        statement = """INSERT INTO events (run_id, key, candidate_id, kind, at, body)
            VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, key) DO NOTHING"""
        with self._use() as connection:
            return connection.execute(statement, row).rowcount == 1

    def events(
        self,
        run_id: str,
        *,
        after: int = 0,
        candidate_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterator[tuple[int, Event]]:
        """See Ledger."""
        where = ["run_id = ?", "position > ?"]
        values: list[str | int] = []
        if candidate_id is not None:
            where.append("candidate_id = ?")
            values.append(candidate_id)
        if kinds:
            where.append(f"kind IN ({','.join('?' * len(kinds))})")
            values.extend(kinds)
        query = (
            f"SELECT position, body FROM events WHERE {' AND '.join(where)}"  # noqa: S608 - only placeholders
            f" ORDER BY position LIMIT {_PAGE_EVENTS}"
        )
        return self._pages(query, run_id, after, values)

    def get(self, run_id: str, key: str) -> Event | None:
        """See Ledger."""
        query = "SELECT body FROM events WHERE run_id = ? AND key = ?"
        with self._use() as connection:
            row = connection.execute(query, (run_id, key)).fetchone()
        return None if row is None else event_from_json(row[0])

    def runs(self) -> tuple[str, ...]:
        """See Ledger."""
        query = "SELECT run_id FROM events GROUP BY run_id ORDER BY MIN(position) DESC"
        with self._use() as connection:
            return tuple(row[0] for row in connection.execute(query).fetchall())

    def count(self, run_id: str) -> int:
        """Return how many events the run has, of kinds that are known here or not."""
        query = "SELECT COUNT(*) FROM events WHERE run_id = ?"
        with self._use() as connection:
            return int(connection.execute(query, (run_id,)).fetchone()[0])

    def close(self) -> None:
        """See Ledger."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _pages(
        self, query: str, run_id: str, after: int, values: Sequence[str | int]
    ) -> Iterator[tuple[int, Event]]:
        while True:
            with self._use() as connection:
                rows = connection.execute(query, (run_id, after, *values)).fetchall()
            for position, body in rows:
                after = position
                event = event_from_json(body)
                if event is not None:
                    yield position, event
            if len(rows) < _PAGE_EVENTS:
                return

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                raise ValueError(f"the ledger {self.path} is closed")
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise InfrastructureFailure(
                    f"the ledger {self.path} failed: {error}. Check free space and permissions"
                ) from error


def _open(path: Path, *, read_only: bool) -> sqlite3.Connection:
    target = path.absolute().as_uri() + ("?mode=ro" if read_only else "")
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(
            target,
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except (sqlite3.Error, OSError) as error:
        raise UserError(
            f"the ledger {path} cannot be opened: {error}. Choose another place with --workspace"
        ) from error


def _prepare(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            # Before anything is changed: the file may be another program's database.
            _check_ours(connection, path)
            if not read_only:
                _create(connection)
            _check_version(connection, path)
        except sqlite3.OperationalError as error:
            # Changing the journal mode does not wait for other openers, so the wait is ours.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise InfrastructureFailure(
                    f"the ledger {path} cannot be used: {error}. Check free space and permissions"
                ) from error
            time.sleep(0.02)
        except sqlite3.DatabaseError as error:
            raise _not_a_ledger(path, str(error)) from error
        else:
            return


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if tables and application != _APPLICATION_ID:
        raise _not_a_ledger(path, "it is a database of another program")


def _create(connection: sqlite3.Connection) -> None:
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        _log.warning("the file system has no write-ahead mode (%s): readers may block a run", mode)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))
            connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    row = connection.execute("SELECT version FROM schema_version").fetchone() if tables else None
    if row is None:
        raise _not_a_ledger(path, "it has no schema version")
    if row[0] > SCHEMA_VERSION:
        raise UserError(
            f"the ledger {path} has schema version {row[0]}; this evocodec reads up to "
            f"{SCHEMA_VERSION}. Upgrade evocodec, or choose another place with --workspace"
        )


def _not_a_ledger(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is not an evocodec ledger ({reason}). Move it away, or choose another place "
        "with --workspace"
    )
