"""Stores the embedded platform's documents in a SQLite file, or nowhere.

A document has a kind, a key and an owner. All documents of an owner can be deleted together. Each change is one small
transaction. SQLite's write-ahead log makes acknowledged changes survive the end of the process. SQLite's exclusive
lock keeps other processes from the file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson

VERSION = 1
"""The version of the documents' format. A file with a different version is refused."""

_TABLE = """CREATE TABLE document (
  place INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, owner TEXT NOT NULL, body BLOB NOT NULL,
  UNIQUE (kind, key)
)"""
_PUT = """INSERT INTO document (kind, key, owner, body) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body"""

Document = tuple[str, str, str, Any]
"""A document's kind, key, owner and body."""


class StoreError(Exception):
    """The error for a file that cannot be used. The message is one line that says what to do."""


class Store:
    """A store of documents. This base class keeps nothing."""

    def documents(self) -> Iterable[Document]:
        """Return the documents that were stored before the start, in the order of creation."""
        return ()

    def put(self, kind: str, key: str, body: Any, owner: str = "") -> None:
        """Store a document. A document with the same kind and key is replaced."""

    def drop(self, kind: str, key: str) -> None:
        """Delete a document."""

    def drop_owned(self, owner: str) -> None:
        """Delete all documents of an owner."""

    def together(self) -> AbstractContextManager[None]:
        """Make the changes inside a ``with`` block in one transaction."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Close the file."""


class SqliteStore(Store):
    """A store in an open SQLite file."""

    def __init__(self, connection: sqlite3.Connection, documents: list[Document]) -> None:
        self._connection = connection
        self._documents = documents

    def documents(self) -> Iterable[Document]:
        """Return the documents at the first call. Later calls return none, because no copy stays in memory."""
        documents, self._documents = self._documents, []
        return documents

    def put(self, kind: str, key: str, body: Any, owner: str = "") -> None:
        """Store a document."""
        self._connection.execute(_PUT, (kind, key, owner, orjson.dumps(body)))

    def drop(self, kind: str, key: str) -> None:
        """Delete a document."""
        self._connection.execute("DELETE FROM document WHERE kind = ? AND key = ?", (kind, key))

    def drop_owned(self, owner: str) -> None:
        """Delete all documents of an owner."""
        self._connection.execute("DELETE FROM document WHERE owner = ?", (owner,))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Make the changes in one transaction, even in nested ``with`` blocks."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:  # includes CancelledError
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def open_store(path: Path) -> SqliteStore:
    """Open a store's file. Only the owner of a new file can read it.

    Raises:
        StoreError: another process uses the file, or the file has a different format or version.
        OSError: the file cannot be created.
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
    """Delete a store's file, even if it is damaged, and SQLite's files beside it.

    Returns the path of the deleted file, if there was one.

    Raises:
        StoreError: a process uses the file.
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
    """Open the file, and lock it for this process until the connection is closed."""
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
        raise StoreError(f"{path} has the format of another agentgraph version ({version}, not {VERSION}). {_RESET}")


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
