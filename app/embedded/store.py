"""Where the embedded platform's documents are kept: nowhere but in memory, or in one SQLite file of the user's.

A document has a kind, a key and an owner, whose going takes it along. Each change is one small transaction. The journal
is a write-ahead log, so that what a killed process had acknowledged is found again. The file belongs to one process at
a time: SQLite's exclusive lock, which goes with the process, holds the others off.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import orjson

VERSION = 1
"""The form of the documents. A file of another form is refused, not guessed at."""

_TABLE = """CREATE TABLE document (
  place INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, owner TEXT NOT NULL, body BLOB NOT NULL,
  UNIQUE (kind, key)
)"""
_PUT = """INSERT INTO document (kind, key, owner, body) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body"""

Document = tuple[str, str, str, Any]
"""Kind, key, owner, body."""


class StoreError(Exception):
    """The file cannot be used; the text is one line and says what helps."""


class Store(Protocol):
    """What keeps documents."""

    def documents(self) -> Iterable[Document]:
        """What was kept when it was opened, in the order of its making."""

    def put(self, kind: str, key: str, body: Any, owner: str = "") -> None:
        """Keep a document, in place of the one of its kind and key."""

    def drop(self, kind: str, key: str) -> None:
        """Forget a document."""

    def drop_owned(self, owner: str) -> None:
        """Forget every document of an owner."""

    def together(self) -> AbstractContextManager[None]:
        """Several changes as one: all are kept, or none."""

    def close(self) -> None:
        """Let go of the file."""


class Memory:
    """Keeps nothing: the process's own memory is all there is."""

    def documents(self) -> Iterable[Document]:
        """Nothing."""
        return ()

    def put(self, kind: str, key: str, body: Any, owner: str = "") -> None:
        """Nothing to do."""

    def drop(self, kind: str, key: str) -> None:
        """Nothing to do."""

    def drop_owned(self, owner: str) -> None:
        """Nothing to do."""

    def together(self) -> AbstractContextManager[None]:
        """Nothing to do."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Nothing to do."""


class SqliteStore:
    """Documents in an opened file."""

    def __init__(self, connection: sqlite3.Connection, documents: list[Document]) -> None:
        self._connection = connection
        self._documents = documents

    def documents(self) -> Iterable[Document]:
        """What was kept when it was opened. Given once, then forgotten."""
        kept, self._documents = self._documents, []
        return kept

    def put(self, kind: str, key: str, body: Any, owner: str = "") -> None:
        """Keep a document, in place of the one of its kind and key."""
        self._connection.execute(_PUT, (kind, key, owner, orjson.dumps(body)))

    def drop(self, kind: str, key: str) -> None:
        """Forget a document."""
        self._connection.execute("DELETE FROM document WHERE kind = ? AND key = ?", (kind, key))

    def drop_owned(self, owner: str) -> None:
        """Forget every document of an owner."""
        self._connection.execute("DELETE FROM document WHERE owner = ?", (owner,))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Several changes as one. Within another such context, part of that one."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:  # whatever ends it, a cancellation included, half of it is not kept
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def open_store(path: Path) -> SqliteStore:
    """The documents in a file, which is made where there is none, readable by its owner alone.

    Raises:
        StoreError: when another process has it, or when it is no such file, or one of another form.
        OSError: when it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    try:
        connection = _connect(path)
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error
    try:
        _prepare(connection, path)
        return SqliteStore(connection, _read(connection))
    except (sqlite3.DatabaseError, orjson.JSONDecodeError) as error:
        connection.close()
        raise _unusable(path, error) from error
    except StoreError:
        connection.close()
        raise


def remove_store(path: Path) -> list[Path]:
    """Remove a file of documents, usable or not, and what SQLite keeps beside it. Answers what was removed.

    Raises:
        StoreError: when a process has it open.
    """
    if not path.exists():
        return []
    connection = None
    try:
        connection = _connect(path)
    except sqlite3.DatabaseError as error:
        if _is_taken(error):
            raise StoreError(f"{path} is in use by another agentgraph. Stop that one first.") from error
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    if connection is not None:
        connection.close()
    return [path]


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, locked for this process from its first read until it is closed."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    if not tables and version == 0:
        connection.execute("BEGIN")
        connection.execute(_TABLE)
        connection.execute("CREATE INDEX document_owner ON document (owner) WHERE owner <> ''")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    elif version != VERSION:
        raise StoreError(f"{path} is of another version of agentgraph ({version}, not {VERSION}). {_RESET}")


def _read(connection: sqlite3.Connection) -> list[Document]:
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(state)
    rows = connection.execute("SELECT kind, key, owner, body FROM document ORDER BY place")
    return [(kind, key, owner, orjson.loads(body)) for kind, key, owner, body in rows]


_RESET = "Start afresh with: agentgraph reset"


def _unusable(path: Path, error: Exception) -> StoreError:
    if _is_taken(error):
        text = f"{path} is in use by another agentgraph. Stop that one first, or start this one with --memory."
        return StoreError(text)
    return StoreError(f"{path} cannot be read ({' '.join(str(error).split())}). {_RESET}")


def _is_taken(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
