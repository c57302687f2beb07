"""Errors that end a command with a message instead of a traceback."""

from __future__ import annotations


class UsageError(Exception):
    """A command cannot be carried out. The message is printed."""
