"""What ends a command with one line for its user, in place of a traceback."""

from __future__ import annotations


class UsageError(Exception):
    """The command cannot be carried out. The text says why, in a line or a few."""
