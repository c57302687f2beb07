"""The error that ends a command with a message instead of a traceback."""

from __future__ import annotations


class UsageError(Exception):
    """The error for a command that cannot run. The command line prints the error's message."""
