"""The frames of a Letta stream, in the order of the contract.

``ping`` (carries the run's id) → messages and their deltas → ``stop_reason`` → ``usage_statistics`` → ``[DONE]``.
A failed model call is ``stop_reason`` + ``event: error``; a cancelled run ends at its ``stop_reason``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from clients.decode import decode
from clients.errors import Service
from clients.letta.ids import is_letta_id
from clients.letta.messages import MessageRecord, decode_message
from clients.overflow import is_too_long
from clients.owned import ConversationRef
from clients.sse import SseEvent
from clients.usage import Usage


class Ping(msgspec.Struct, frozen=True):
    """A keep-alive. The first one has the run's id."""

    run_id: str | None


class MessageFrame(msgspec.Struct, frozen=True):
    """A message or, in token mode, a piece of one."""

    message: MessageRecord


class StopReason(msgspec.Struct, frozen=True):
    """Letta's stop reason of the turn; see ``clients.letta.stops``."""

    reason: str


class ErrorFrame(msgspec.Struct, frozen=True):
    """The turn failed. Letta's text is not kept.

    Attributes:
        waits_for_approval: the message was not processed, since the agent waits for a decision (Letta 0.16.8).
        lost_image: the message was not processed, since an image's URL cannot be read.
        unpaid: the model answered 402.
    """

    error_type: str
    waits_for_approval: bool = False
    lost_image: bool = False
    unpaid: bool = False
    too_long: bool = False
    run_id: str | None = None


class Done(msgspec.Struct, frozen=True):
    """``[DONE]``, the last event."""


Frame = Ping | MessageFrame | StopReason | Usage | ErrorFrame | Done


class _Head(msgspec.Struct):
    message_type: Any = None
    seq_id: Any = None


class _Wire(msgspec.Struct):
    """Letta's own frames. A field of an unexpected type is unknown, and does not fail the stream."""

    run_id: Any = None
    stop_reason: Any = None
    error_type: Any = None
    message: Any = None
    detail: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    reasoning_tokens: Any = None
    cached_input_tokens: Any = None


_WAITS = "waiting for approval"
_LOST_IMAGE = "Failed to fetch image"
_UNPAID = "PAYMENT_REQUIRED:"
"""The beginning of Letta's detail after a model's 402. The ``error_type`` is ``llm_error``, as of other failures."""
_RATE_LIMIT = "llm_rate_limit"
"""Its detail can be "too many tokens", which means those of a minute."""
_OURS = ("ping", "stop_reason", "usage_statistics", "error_message")
_HEAD = msgspec.json.Decoder(_Head)
_WIRE = msgspec.json.Decoder(_Wire)


def seq_id_of(event: SseEvent) -> int | None:
    """The frame's number within a background run, if it has one. Raises UpstreamError (``DECODE``)."""
    if event.data == b"[DONE]":
        return None
    return _count(decode(Service.LETTA, _HEAD, event.data).seq_id)


def decode_frame(event: SseEvent, conversation: ConversationRef) -> Frame:
    """Decode an event to a frame. Raises UpstreamError (``DECODE``)."""
    if event.data == b"[DONE]":
        return Done()
    kind = decode(Service.LETTA, _HEAD, event.data).message_type
    if kind not in _OURS:
        return MessageFrame(decode_message(event.data, conversation))
    wire = decode(Service.LETTA, _WIRE, event.data)
    match kind:
        case "ping":
            return Ping(_run_id(wire.run_id))
        case "stop_reason":
            return StopReason(_text(wire.stop_reason))
        case "usage_statistics":
            return Usage(
                prompt_tokens=_count(wire.prompt_tokens),
                completion_tokens=_count(wire.completion_tokens),
                total_tokens=_count(wire.total_tokens),
                reasoning_tokens=_count(wire.reasoning_tokens),
                cached_prompt_tokens=_count(wire.cached_input_tokens),
            )
        case _:
            return _error(wire)


def _error(wire: _Wire) -> ErrorFrame:
    kind, message, detail = _text(wire.error_type), _text(wire.message), _text(wire.detail)
    return ErrorFrame(
        kind,
        waits_for_approval=_WAITS in message,
        lost_image=_LOST_IMAGE in message,
        unpaid=detail.startswith(_UNPAID),
        too_long=kind != _RATE_LIMIT and is_too_long(f"{kind} {message} {detail}"),
        run_id=_run_id(wire.run_id),
    )


def _run_id(value: Any) -> str | None:
    """The value, if it is the id of a run."""
    return value if isinstance(value, str) and is_letta_id(value, "run") else None


def _text(value: Any) -> str:
    """The value if it is text; another value as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _count(value: Any) -> int | None:
    """The value, if it is a count."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
