"""The errors of the shared state. Clients of the gateway never receive these errors."""

from enum import StrEnum


class StateCause(StrEnum):
    """Why Redis did not execute a command. The values are metric labels."""

    CONNECTION = "connection"
    """The connection broke, or Redis refused the connection."""
    TIMEOUT = "timeout"
    """Redis did not answer in time."""
    FULL = "full"
    """Redis has no memory left."""
    READ_ONLY = "read_only"
    """The server is a replica, as after a failover."""
    LOADING = "loading"
    """Redis loads its data after a start."""
    QUEUE = "queue"
    """Too many commands wait for Redis."""
    REFUSED = "refused"
    """Redis refused the command for a different reason, or refused the password."""


_OUTAGES = frozenset({StateCause.CONNECTION, StateCause.TIMEOUT, StateCause.READ_ONLY, StateCause.LOADING})


class StateUnavailable(Exception):
    """Redis did not execute a command, or the gateway does not know whether Redis executed the command.

    A caller continues without Redis, as ``docs/state.md`` defines for each use.
    """

    def __init__(self, cause: StateCause, message: str = "") -> None:
        super().__init__(message or cause.value)
        self.cause = cause

    @property
    def is_outage(self) -> bool:
        """Return whether Redis executes no commands at all, so that the gateway connects again."""
        return self.cause in _OUTAGES
