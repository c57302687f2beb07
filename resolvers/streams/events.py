"""Types of stream events, log entries and deliveries to readers.

Events are immutable and have no position. A log stores an event as a numbered entry, and a reader receives the event
with a cursor. Joined deltas have the last delta's cursor, so the text after any cursor is exact.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from clients.codes import ErrorCode, Reason
from clients.errors import GatewayError, Service, error_of
from clients.usage import Usage


class StreamOutcome(StrEnum):
    """How a stream ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StreamStatus(StrEnum):
    """The status of a stream."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OnDisconnect(StrEnum):
    """What the gateway does with the upstream call when the last reader detaches."""

    CANCEL = "cancel"
    CONTINUE = "continue"


class FinishReason(StrEnum):
    """The reason why a model stopped. Completions have OpenAI's values, and turns have Letta 0.16.8's values."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    FUNCTION_CALL = "function_call"
    CONTENT_FILTER = "content_filter"
    END_TURN = "end_turn"
    REQUIRES_APPROVAL = "requires_approval"
    CANCELLED = "cancelled"
    MAX_STEPS = "max_steps"
    MAX_TOKENS_EXCEEDED = "max_tokens_exceeded"
    TOOL_RULE = "tool_rule"
    NO_TOOL_CALL = "no_tool_call"
    INVALID_TOOL_CALL = "invalid_tool_call"
    INVALID_LLM_RESPONSE = "invalid_llm_response"
    LLM_API_ERROR = "llm_api_error"
    CONTEXT_WINDOW_OVERFLOW_IN_SYSTEM_PROMPT = "context_window_overflow_in_system_prompt"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    ERROR = "error"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> FinishReason:  # noqa: ARG003 - the protocol's signature
        return cls.UNKNOWN


def finish_reason(word: str | None) -> FinishReason | None:
    """Convert a service's value to a finish reason. For ``None``, return ``None``."""
    return None if word is None else FinishReason(word)


class DetachReason(StrEnum):
    """Why the gateway detached a reader although the stream continues."""

    SLOW = "slow"
    DRAINING = "draining"
    SIGNED_OUT = "signed_out"


def utf8_size(text: str) -> int:
    """Return the number of bytes that a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The base class of stream events. A source may define more event types."""

    @property
    def size(self) -> int:
        """The number of UTF-8 bytes that this event adds to the answer."""
        return 0


class Started(Event, frozen=True, kw_only=True):
    """The first event of a log. ``resumable`` is True if clients can resume the answer after a gateway restart."""

    run_id: str | None = None
    resumable: bool = False


class TextDelta(Event, frozen=True, kw_only=True):
    """A piece of the answer's text. ``message_id`` is ``None`` in a completion."""

    message_id: str | None = None
    text: str

    @property
    def size(self) -> int:
        """The size of the text, in bytes."""
        return utf8_size(self.text)


class ReasoningDelta(TextDelta, frozen=True, kw_only=True):
    """A piece of the model's reasoning."""


class ToolCallDelta(Event, frozen=True, kw_only=True):
    """A piece of a tool call. The call's name and id are sent once. Parallel calls have different ``index`` values."""

    message_id: str | None = None
    index: int = 0
    tool_call_id: str | None = None
    name: str | None = None
    arguments_delta: str = ""

    @property
    def size(self) -> int:
        """The size of the tool call's arguments, in bytes."""
        return utf8_size(self.arguments_delta)


class StreamFailure(msgspec.Struct, frozen=True, kw_only=True):
    """The error that ended a stream."""

    code: ErrorCode
    message: str
    reason: Reason | None = None
    service: Service | None = None
    retryable: bool = False
    retry_after_seconds: float | None = None
    details: dict[str, str] = {}

    @classmethod
    def of(cls, error: GatewayError) -> StreamFailure:
        """Create a failure from an exception."""
        return cls(**{field: getattr(error, field) for field in cls.__struct_fields__})

    def error(self) -> GatewayError:
        """Convert the failure to an exception."""
        return error_of(**msgspec.structs.asdict(self))


class Ended(Event, frozen=True, kw_only=True):
    """The last event of a log. In a turn, ``conversation`` has the id of a conversation or an agent."""

    outcome: StreamOutcome
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: StreamFailure | None = None
    run_id: str | None = None
    conversation: str | None = None


class Detached(Event, frozen=True, kw_only=True):
    """The last event for a reader that is detached while the stream continues. The log does not store this event."""

    reason: DetachReason


class Raw(Event, frozen=True, kw_only=True):
    """An upstream event that GraphQL clients do not receive. The OpenAI endpoint sends the event to the client."""


class Batch(NamedTuple):
    """Events that have arrived together, with their upstream bytes.

    ``joined`` is the number of the service's frames that were joined with other frames, and are no events.
    """

    events: list[tuple[Event, bytes]]
    joined: int = 0


def batch_of(*events: Event) -> Batch:
    """Return a batch of events without upstream bytes."""
    return Batch([(event, b"") for event in events])


E_co = TypeVar("E_co", bound=Event, covariant=True)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A log entry: an event with its number and upstream bytes. The numbers begin at 1.

    ``mark`` is the source's position at the event, see ``Source.mark``.
    """

    seq: int
    event: Event
    raw: bytes = b""
    mark: int = 0


class Delivery(msgspec.Struct, Generic[E_co], frozen=True, gc=False):
    """An event that one reader receives. ``replayed`` is True if the stream began before the reader attached."""

    stream_id: str
    cursor: str
    event: E_co
    replayed: bool = False
