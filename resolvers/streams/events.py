"""What a token stream is made of. An event is also the record of its GraphQL type; ``cursor`` is its place in the log.

The kernel numbers an event when it appends it. Merged deltas carry the cursor of the last one in them, so that the
text after any cursor, concatenated, is exact.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from clients.codes import ErrorCode, Reason
from clients.errors import GatewayError, Service, error_of
from clients.letta.messages import MessageRecord
from clients.usage import Usage


class StreamOutcome(StrEnum):
    """How a stream ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StreamStatus(StrEnum):
    """Where a stream stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OnDisconnect(StrEnum):
    """What happens upstream when the last reader leaves."""

    CANCEL = "cancel"
    CONTINUE = "continue"


class FinishReason(StrEnum):
    """Why a model stopped: OpenAI's words of a completion, Letta 0.16.8's of a turn."""

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
    """An upstream's word; ``None`` while it has said none."""
    return None if word is None else FinishReason(word)


class DetachReason(StrEnum):
    """Why a reader was let go while the stream goes on."""

    SLOW = "slow"
    DRAINING = "draining"
    SIGNED_OUT = "signed_out"


def utf8_size(text: str) -> int:
    """The bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Event(msgspec.Struct, kw_only=True, tag=True, gc=False):
    """Root of the events."""

    cursor: str = ""

    @property
    def size(self) -> int:
        """The bytes of the answer that it carries: text in UTF-8, and what a message holds."""
        return 0


class Started(Event, kw_only=True):
    """The first event of every log. ``replayed`` is set for the reader: clear what you had."""

    stream_id: str
    run_id: str | None = None
    user_message: MessageRecord | None = None
    resumable: bool = False
    replayed: bool = False

    @property
    def size(self) -> int:
        """The bytes of the message that was sent."""
        return 0 if self.user_message is None else self.user_message.weight


class TextDelta(Event, kw_only=True):
    """More of the answer. ``message_id`` is the id of the message it belongs to, ``None`` in a completion."""

    message_id: str | None = None
    text: str

    @property
    def size(self) -> int:
        """The bytes of its text."""
        return utf8_size(self.text)


class ReasoningDelta(TextDelta, kw_only=True):
    """More of what the model thinks."""


class ToolCallDelta(Event, kw_only=True):
    """More of a tool call. Its name and id come once, its arguments in pieces; ``index`` is of one call alone."""

    message_id: str | None = None
    index: int = 0
    tool_call_id: str | None = None
    name: str | None = None
    arguments_delta: str = ""

    @property
    def size(self) -> int:
        """The bytes of its piece of the arguments."""
        return utf8_size(self.arguments_delta)


class MessageAdded(Event, kw_only=True):
    """A message stands: whole, with its final id."""

    message: MessageRecord

    @property
    def size(self) -> int:
        """The bytes of the message."""
        return self.message.weight


class ApprovalRequested(MessageAdded, kw_only=True):
    """The turn waits for a person's decision on tool calls."""

    run_id: str | None = None


class StreamFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stream failed: what is kept of the error."""

    code: ErrorCode
    message: str
    reason: Reason | None = None
    service: Service | None = None
    retryable: bool = False
    retry_after_seconds: float | None = None
    details: dict[str, str] = {}

    @classmethod
    def of(cls, error: GatewayError) -> StreamFailure:
        """What is kept of an error."""
        return cls(
            code=error.code,
            message=error.message,
            reason=error.reason,
            service=error.service,
            retryable=error.retryable,
            retry_after_seconds=error.retry_after_seconds,
            details=error.details,
        )

    def error(self) -> GatewayError:
        """The error again, to raise."""
        return error_of(
            self.code,
            self.message,
            reason=self.reason,
            service=self.service,
            retryable=self.retryable,
            retry_after_seconds=self.retry_after_seconds,
            details=self.details,
        )


class Ended(Event, kw_only=True):
    """The end, once per log."""

    outcome: StreamOutcome
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: StreamFailure | None = None
    run_id: str | None = None
    scope: str | None = None


class Detached(Event, kw_only=True):
    """This reader is let go; the stream goes on. Never in the log; ``cursor`` is the last one it was given."""

    reason: DetachReason


class Raw(Event, kw_only=True):
    """An upstream event that means nothing in the graph and is passed on at the OpenAI door."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A place in the log: an event and, in a completion, the upstream bytes to pass on with it, if any."""

    seq: int
    event: Event
    raw: bytes = b""
