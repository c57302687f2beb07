"""Letta's words for why a run stopped (``StopReasonType`` of 0.16.8), and how a run that stopped so ended."""

from __future__ import annotations

from enum import StrEnum


class StopKind(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


_COMPLETED = frozenset({"end_turn", "tool_rule", "requires_approval"})


def stop_kind(reason: str) -> StopKind:
    """How a run with this stop reason ended.

    A word that Letta 0.16.8 does not have counts as a failure: a broken answer must not look complete.
    """
    if reason in _COMPLETED:
        return StopKind.COMPLETED
    return StopKind.CANCELLED if reason == "cancelled" else StopKind.FAILED
