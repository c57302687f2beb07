"""Metrics and log lines about the state that replicas share in Redis."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Enum, Histogram

from clients.state.errors import StateCause
from clients.state.status import StateStatus

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


class StateMetrics:
    """Records the status of the shared state. Implements ``clients.state.status.StateObserver``."""

    def __init__(self, registry: CollectorRegistry, log: Any) -> None:
        self._log = log
        states = [status.value for status in StateStatus]
        self._status = Enum("agentgraph_state", "Status of Redis.", states=states, registry=registry)
        text = "Commands that Redis executed."
        self._commands = Counter("agentgraph_state_commands", text, registry=registry)
        text = "Duration of a pipeline of Redis commands, in seconds."
        self._seconds = Histogram("agentgraph_state_seconds", text, buckets=_BUCKETS, registry=registry)
        text = "Commands that Redis did not execute, by cause."
        self._failures = Counter("agentgraph_state_failures", text, ["cause"], registry=registry)

    def state_changed(self, status: StateStatus, cause: StateCause | None) -> None:
        """Record that the status has changed."""
        self._status.state(status.value)
        level = self._log.info if status is StateStatus.OK else self._log.warning
        level("shared state", status=status.value, cause=None if cause is None else cause.value)

    def state_commands(self, count: int, seconds: float) -> None:
        """Record a pipeline: the number of its commands, and its duration in seconds."""
        self._commands.inc(count)
        self._seconds.observe(seconds)

    def state_failed(self, cause: StateCause, commands: int) -> None:
        """Count commands that Redis did not execute."""
        if commands:
            self._failures.labels(cause.value).inc(commands)
