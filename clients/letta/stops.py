"""Converts Letta's stop reasons to the outcomes of runs. The stop reasons are ``StopReasonType`` of Letta 0.16.8."""

from enum import StrEnum


class StopKind(StrEnum):
    """The outcome of a run."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


_COMPLETED = frozenset({"end_turn", "tool_rule", "requires_approval"})


def stop_kind(reason: str) -> StopKind:
    """Convert Letta's stop reason to a run's outcome. An unknown stop reason becomes ``FAILED``."""
    if reason in _COMPLETED:
        return StopKind.COMPLETED
    return StopKind.CANCELLED if reason == "cancelled" else StopKind.FAILED
