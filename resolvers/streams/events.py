"""Events, entries and deliveries.

Events are immutable and have no position. A log keeps an event as a numbered entry; a reader receives it with a cursor.
Joined deltas have the cursor of the last one, so the text after any cursor is exact.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, TypeVar

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
    """What happens upstream when the last reader detaches."""

    CANCEL = "cancel"
    CONTINUE = "continue"


class FinishReason(StrEnum):
    """Why a model stopped: the values of OpenAI for completions, and of Letta 0.16.8 for turns."""

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
    """Return the finish reason for an upstream's value, if it has one."""
    return None if word is None else FinishReason(word)


class DetachReason(StrEnum):
    """Why a reader was detached while the stream continues."""

    SLOW = "slow"
    DRAINING = "draining"
    SIGNED_OUT = "signed_out"


def utf8_size(text: str) -> int:
    """The bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """Base class of events. A source may have event types of its own."""

    @property
    def size(self) -> int:
        """The bytes of the answer in the event: text in UTF-8, and messages."""
        return 0


class Started(Event, frozen=True, kw_only=True):
    """The first event of every log. ``resumable`` says whether the upstream can be read again from a cursor."""

    run_id: str | None = None
    resumable: bool = False


class TextDelta(Event, frozen=True, kw_only=True):
    """A piece of the answer. ``message_id`` is ``None`` in a completion."""

    message_id: str | None = None
    text: str

    @property
    def size(self) -> int:
        """The bytes of its text."""
        return utf8_size(self.text)


class ReasoningDelta(TextDelta, frozen=True, kw_only=True):
    """A piece of the model's reasoning."""


class ToolCallDelta(Event, frozen=True, kw_only=True):
    """A piece of a tool call. Its name and id come once. Each parallel call has its own ``index``."""

    message_id: str | None = None
    index: int = 0
    tool_call_id: str | None = None
    name: str | None = None
    arguments_delta: str = ""

    @property
    def size(self) -> int:
        """The bytes of its arguments."""
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
        """Return the failure that has the fields of an error."""
        return cls(**{field: getattr(error, field) for field in cls.__struct_fields__})

    def error(self) -> GatewayError:
        """Return the failure as an error to raise."""
        return error_of(**msgspec.structs.asdict(self))


class Ended(Event, frozen=True, kw_only=True):
    """The last event of a log. ``conversation`` is that of a turn, ``conv-…`` or ``agent-…``."""

    outcome: StreamOutcome
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: StreamFailure | None = None
    run_id: str | None = None
    conversation: str | None = None


class Detached(Event, frozen=True, kw_only=True):
    """Sent when the reader is detached while the stream continues. It is never stored in the log."""

    reason: DetachReason


class Raw(Event, frozen=True, kw_only=True):
    """An upstream event without meaning in the graph. The OpenAI endpoint passes it on."""


E_co = TypeVar("E_co", bound=Event, covariant=True)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An entry of a log: an event, its number from 1, and the upstream bytes to pass on with it, if any."""

    seq: int
    event: Event
    raw: bytes = b""

    @property
    def cursor(self) -> str:
        """The cursor of its event."""
        return str(self.seq)


class Delivery(msgspec.Struct, Generic[E_co], frozen=True, gc=False):
    """An event as one reader receives it. ``replayed``: the reader has attached to a stream that had begun before."""

    stream_id: str
    cursor: str
    event: E_co
    replayed: bool = False
