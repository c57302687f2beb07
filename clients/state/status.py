"""Whether replicas can share state, for operators."""

from enum import StrEnum
from typing import Protocol

from clients.state.errors import StateCause


class StateStatus(StrEnum):
    """Whether the replicas can share state."""

    OK = "ok"
    DEGRADED = "degraded"
    """Redis answers, but refuses commands, for example because Redis has no memory left."""
    DOWN = "down"


class StateObserver(Protocol):
    """Records the state of the connection to Redis for operators."""

    def state_changed(self, status: StateStatus, cause: StateCause | None) -> None:
        """Record that the status has changed."""

    def state_commands(self, count: int, seconds: float) -> None:
        """Record a pipeline: the number of its commands, and its duration in seconds."""

    def state_failed(self, cause: StateCause, commands: int) -> None:
        """Count commands that Redis did not execute."""
