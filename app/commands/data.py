"""Opens the embedded platform's data file. ``agentgraph reset`` deletes the file."""

import argparse
import sys

from app.devtokens import DataFolderError, store_path
from app.embedded.store import Store, StoreError, open_store, remove_store
from app.usage import UsageError

_YES = frozenset({"y", "yes"})


def opened_store() -> Store:
    """Open the embedded platform's data file. Raise UsageError if the file cannot be opened."""
    try:
        return open_store(store_path())
    except StoreError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise DataFolderError(store_path().parent, error) from error


def reset(options: argparse.Namespace) -> None:
    """Delete the embedded platform's data file after the user has confirmed the deletion."""
    path = store_path()
    if not path.exists():
        print(f"Nothing to delete: {path} does not exist")
        return
    if not options.yes:
        if not sys.stdin.isatty():
            raise UsageError(
                f"this deletes {path} with the embedded platform's agents, messages and keys: confirm with --yes"
            )
        if input(f"Delete {path} with the embedded platform's agents, messages and keys? [y/N] ").lower() not in _YES:
            raise UsageError("cancelled: nothing was deleted")
    try:
        removed = remove_store(path)
    except StoreError as error:
        raise UsageError(str(error)) from error
    print("\n".join(f"Deleted {one}" for one in removed))
