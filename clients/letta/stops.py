"""Letta's stop reasons (``StopReasonType`` of 0.16.8), by the outcome of the run."""

from __future__ import annotations

from enum import StrEnum


class StopKind(StrEnum):
    """The outcome of a run."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


_COMPLETED = frozenset({"end_turn", "tool_rule", "requires_approval"})


def stop_kind(reason: str) -> StopKind:
    """The outcome of a run with a stop reason.

    A reason that Letta 0.16.8 does not have is a failure, so that an incomplete answer does not look complete.
    """
    if reason in _COMPLETED:
        return StopKind.COMPLETED
    return StopKind.CANCELLED if reason == "cancelled" else StopKind.FAILED
