"""The file that the embedded platform keeps its data in, and ``agentgraph reset``, which removes it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app import devtokens
from app.embedded.store import Store, StoreError, open_store, remove_store
from app.usage import UsageError

_YES = frozenset({"y", "yes"})


def store_path() -> Path:
    """Where the embedded platform keeps its data."""
    return devtokens.data_dir() / "embedded.sqlite3"


def opened_store() -> Store:
    """The embedded platform's data. Raises UsageError where it cannot be used."""
    try:
        return open_store(store_path())
    except StoreError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise devtokens.DataFolderError(store_path().parent, error) from error


def reset(options: argparse.Namespace) -> None:
    """Remove the data, once the user has agreed."""
    path = store_path()
    if not path.exists():
        print(f"Nothing to remove: {path} does not exist")
        return
    if not options.yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this removes {path}, the embedded platform's agents, messages and keys; add --yes")
        if input(f"Remove {path}, the embedded platform's agents, messages and keys? [y/N] ").lower() not in _YES:
            raise UsageError("nothing was removed")
    try:
        removed = remove_store(path)
    except StoreError as error:
        raise UsageError(str(error)) from error
    print("\n".join(f"Removed {one}" for one in removed))
