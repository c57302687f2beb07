"""The frames of a Letta stream, in the order the contract gives them.

``ping`` (carries the run's id) → messages and their deltas → ``stop_reason`` → ``usage_statistics`` → ``[DONE]``.
A failed model call is ``stop_reason`` + ``event: error``; a cancelled run ends at its ``stop_reason``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from clients.decode import decode
from clients.errors import Service
from clients.letta.messages import MessageRecord, decode_message
from clients.letta.records import Usage
from clients.sse import SseEvent


class Ping(msgspec.Struct, frozen=True):
    """Letta is still there; the first one tells the run's id."""

    run_id: str | None


class MessageFrame(msgspec.Struct, frozen=True):
    """A message, whole or, in token mode, a piece of one."""

    message: MessageRecord


class StopReason(msgspec.Struct, frozen=True):
    """Why the turn ended: ``end_turn``, ``requires_approval``, ``cancelled``, ``llm_api_error``."""

    reason: str


class ErrorFrame(msgspec.Struct, frozen=True):
    """The turn failed. ``error_type`` is Letta's (``llm_rate_limit``, ``llm_error``, …); its text is never shown.

    ``waits_for_approval``: nothing was done with the message, since the agent waits for a decision (tried on 0.16.8).
    ``lost_image``: nor was it here, since an image's address leads nowhere. ``unpaid``: the model answered 402.
    """

    error_type: str
    waits_for_approval: bool = False
    lost_image: bool = False
    unpaid: bool = False


class Done(msgspec.Struct, frozen=True):
    """``[DONE]``: nothing follows."""


Frame = Ping | MessageFrame | StopReason | Usage | ErrorFrame | Done


class _Head(msgspec.Struct):
    message_type: Any = None


class _Wire(msgspec.Struct):
    run_id: str | None = None
    stop_reason: str = ""
    error_type: str = ""
    message: str = ""
    detail: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_input_tokens: int | None = None


_WAITS = "waiting for approval"
_LOST_IMAGE = "Failed to fetch image"
_UNPAID = "PAYMENT_REQUIRED:"
"""How Letta's detail begins after a model's 402; the ``error_type`` is ``llm_error``, as of any other failure."""
_OURS = ("ping", "stop_reason", "usage_statistics", "error_message")
_HEAD = msgspec.json.Decoder(_Head)
_WIRE = msgspec.json.Decoder(_Wire)


def decode_frame(event: SseEvent, scope: str) -> Frame:
    """One event of the stream as a frame.

    Raises:
        UpstreamError: reason ``DECODE``.
    """
    if event.data == b"[DONE]":
        return Done()
    kind = decode(Service.LETTA, _HEAD, event.data).message_type
    if kind not in _OURS:
        return MessageFrame(decode_message(event.data, scope))
    wire = decode(Service.LETTA, _WIRE, event.data)
    match kind:
        case "ping":
            return Ping(wire.run_id)
        case "stop_reason":
            return StopReason(wire.stop_reason)
        case "usage_statistics":
            return Usage(
                prompt_tokens=wire.prompt_tokens,
                completion_tokens=wire.completion_tokens,
                total_tokens=wire.total_tokens,
                reasoning_tokens=wire.reasoning_tokens,
                cached_prompt_tokens=wire.cached_input_tokens,
            )
        case _:
            return ErrorFrame(
                wire.error_type,
                waits_for_approval=_WAITS in wire.message,
                lost_image=_LOST_IMAGE in wire.message,
                unpaid=(wire.detail or "").startswith(_UNPAID),
            )
