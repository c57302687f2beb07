"""The types of the frames in a stream from Letta (Letta contract).

The order is ``ping`` with the run's id, messages and their deltas, ``stop_reason``, ``usage_statistics``, ``[DONE]``.
After a failed model call, ``event: error`` follows ``stop_reason``. The stream of a cancelled run ends with
``stop_reason``.
"""

from typing import Any, NamedTuple

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
    """A keep-alive frame in a stream from Letta. The first keep-alive frame of a stream contains the run's id."""

    run_id: str | None


class MessageFrame(msgspec.Struct, frozen=True):
    """A frame that contains a message. In token mode, the frame contains a piece of a message.

    ``seq_id`` is the frame's number in a background run. Letta can replay the run's frames after this number.
    """

    message: MessageRecord
    seq_id: int | None = None


class StopReason(msgspec.Struct, frozen=True):
    """A frame that gives Letta's reason for the end of a turn."""

    reason: str


class ErrorFrame(msgspec.Struct, frozen=True):
    """A frame that reports a failed turn. The gateway omits Letta's error message.

    Attributes:
        waits_for_approval: Letta did not process the message, since the agent waits for an approval (Letta 0.16.8).
        lost_image: Letta did not process the message, since Letta cannot fetch an image.
        unpaid: the model's provider answered 402.
    """

    error_type: str
    waits_for_approval: bool = False
    lost_image: bool = False
    unpaid: bool = False
    too_long: bool = False
    run_id: str | None = None


class Done(msgspec.Struct, frozen=True):
    """The event ``[DONE]``, which ends a stream."""


Frame = Ping | MessageFrame | StopReason | Usage | ErrorFrame | Done


class NumberedFrame(NamedTuple):
    """A frame with its ``seq_id``, or with ``None`` if the frame has no number."""

    seq_id: int | None
    frame: Frame


class _Head(msgspec.Struct):
    message_type: Any = None
    seq_id: Any = None


class _Wire(msgspec.Struct):
    """The fields of a frame that is not a message. A field of an unexpected type is not an error."""

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
"""The beginning of Letta's error text if a model provider answered 402. The ``error_type`` is only ``llm_error``."""
_RATE_LIMIT = "llm_rate_limit"
"""Letta's ``error_type`` for an exceeded rate limit.

With this type, "too many tokens" means tokens per minute, and not a long context.
"""
_OURS = ("ping", "stop_reason", "usage_statistics", "error_message")
_HEAD = msgspec.json.Decoder(_Head)
_WIRE = msgspec.json.Decoder(_Wire)


def decode_frame(event: SseEvent, conversation: ConversationRef) -> NumberedFrame:
    """Decode an SSE event from Letta. Raises UpstreamError (``DECODE``) if the event is not a frame."""
    if event.data == b"[DONE]":
        return NumberedFrame(None, Done())
    head = decode(Service.LETTA, _HEAD, event.data)
    seq_id = _count(head.seq_id)
    if head.message_type not in _OURS:
        return NumberedFrame(seq_id, MessageFrame(decode_message(event.data, conversation), seq_id))
    return NumberedFrame(seq_id, _decoded(head.message_type, decode(Service.LETTA, _WIRE, event.data)))


def _decoded(kind: str, wire: _Wire) -> Frame:
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
    return value if isinstance(value, str) and is_letta_id(value, "run") else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
