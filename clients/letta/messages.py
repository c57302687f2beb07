"""The types of Letta's messages, and the functions that decode messages.

Several messages, such as a reasoning message and an assistant message, can share one Letta message id and differ in
``otid``. A message of an unknown type or form is an ``OpaqueMessage``.
"""

from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar

import msgspec
from msgspec.structs import fields, force_setattr

from clients.decode import UNREADABLE, Page, decode, undecodable
from clients.errors import Service
from clients.letta.content import Content, MessageImage, text_of
from clients.letta.tools import Approval, ToolCall, ToolReturn
from clients.owned import ConversationRef


class MessageRole(StrEnum):
    """The role of a message's author."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"
    UNKNOWN = "unknown"


class MessageRecord(msgspec.Struct, kw_only=True, frozen=True):
    """The base class of all messages.

    Attributes:
        letta_id: the id ``message-…``, which all messages of a group share.
        otid: distinguishes the messages of a group. The sender of a user message chooses the ``otid``.
        created_at: when Letta stored the message. ``None`` means that Letta has not stored the message yet.
        read_in: the message's conversation, which Letta does not send.
        ordinal: the message's index in its group, which has ``group_size`` messages.
    """

    role: ClassVar[MessageRole] = MessageRole.UNKNOWN
    has_own_otid: ClassVar[bool] = False
    """Whether the senders of messages of this type choose the ``otid``."""

    letta_id: str = msgspec.field(default="", name="id")
    otid: str | None = None
    created_at: datetime | None = msgspec.field(default=None, name="date")
    step_id: str | None = None
    run_id: str | None = None
    message_type: str = ""
    read_in: ConversationRef | None = msgspec.field(default=None, name="agentgraph.read_in")
    ordinal: int = 0
    group_size: int = 1

    @property
    def conversation(self) -> ConversationRef:
        """The message's conversation."""
        if self.read_in is None:
            raise TypeError("a message of no conversation")
        return self.read_in

    @property
    def is_known_by_otid(self) -> bool:
        """Whether ``otid`` identifies the message, because the message's sender chose ``otid``."""
        return self.has_own_otid and bool(self.otid)

    @property
    def text(self) -> str | None:
        """The message's text."""
        return None

    @property
    def weight(self) -> int:
        """The message's approximate size in memory, in bytes."""
        return len(self.text or "")


class _Spoken(MessageRecord, kw_only=True, frozen=True):
    content: Content = None

    @property
    def text(self) -> str | None:
        """The message's text."""
        content = self.content
        return content if content.__class__ is str else text_of(content)  # calling takes as long as the rest


class UserMessage(_Spoken, kw_only=True, frozen=True):
    """A message from the user."""

    role: ClassVar[MessageRole] = MessageRole.USER
    has_own_otid: ClassVar[bool] = True

    @property
    def images(self) -> list[MessageImage]:
        """The message's images."""
        parts = self.content if isinstance(self.content, tuple) else ()
        return [part.source for part in parts if part.type == "image" and part.source is not None]

    @property
    def weight(self) -> int:
        """The message's approximate size in memory, in bytes."""
        return super().weight + sum(len(image.data or "") for image in self.images)


class AssistantMessage(_Spoken, kw_only=True, frozen=True):
    """A message from the agent."""

    role: ClassVar[MessageRole] = MessageRole.ASSISTANT


class SystemMessage(_Spoken, kw_only=True, frozen=True):
    """A message with instructions for the agent.

    The message can also be a notice that Letta has compacted the agent's context.
    """

    role: ClassVar[MessageRole] = MessageRole.SYSTEM


class ReasoningMessage(MessageRecord, kw_only=True, frozen=True):
    """The model's reasoning before an answer."""

    role: ClassVar[MessageRole] = MessageRole.ASSISTANT
    reasoning: str | None = None

    @property
    def text(self) -> str | None:
        """The model's reasoning."""
        return self.reasoning


class _Calling(MessageRecord, kw_only=True, frozen=True):
    role: ClassVar[MessageRole] = MessageRole.ASSISTANT
    tool_call: ToolCall | None = None
    listed_calls: tuple[ToolCall, ...] | ToolCall | None = msgspec.field(default=None, name="tool_calls")

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The message's tool calls. Letta sends a list in step mode, and one tool call in token mode."""
        calls = self.listed_calls if self.listed_calls is not None else self.tool_call
        if calls is None:
            return []
        return [*calls] if isinstance(calls, tuple) else [calls]


class ToolCallMessage(_Calling, kw_only=True, frozen=True):
    """A message with the agent's tool calls."""


class ApprovalRequestMessage(_Calling, kw_only=True, frozen=True):
    """A message with tool calls that wait for the user's approval."""


class ToolReturnMessage(MessageRecord, kw_only=True, frozen=True):
    """A message with the results of tool calls. ``status`` and ``tool_return`` describe the first call."""

    role: ClassVar[MessageRole] = MessageRole.TOOL
    name: str | None = None
    tool_call_id: str | None = None
    status: str | None = None
    tool_return: Any = None
    listed_returns: tuple[ToolReturn, ...] | None = msgspec.field(default=None, name="tool_returns")

    @property
    def tool_returns(self) -> list[ToolReturn]:
        """The result of each tool call."""
        if self.listed_returns:
            return [*self.listed_returns]
        return [ToolReturn(tool_call_id=self.tool_call_id, raw_status=self.status, tool_return=self.tool_return)]

    @property
    def text(self) -> str | None:
        """The result of the first tool call, as text."""
        return self.tool_returns[0].text


class ApprovalResponseMessage(MessageRecord, kw_only=True, frozen=True):
    """A message with a user's decision on an approval request. The request can have several tool calls."""

    role: ClassVar[MessageRole] = MessageRole.USER
    raw_approve: bool | None = msgspec.field(default=None, name="approve")
    raw_reason: str | None = msgspec.field(default=None, name="reason")
    approvals: tuple[Approval, ...] | None = None

    @property
    def approve(self) -> bool | None:
        """Whether the user approved every tool call. ``None`` if a client sent the results instead of a decision."""
        decisions = [one.approve for one in self.approvals or () if one.approve is not None]
        return self.raw_approve if self.raw_approve is not None or not decisions else all(decisions)

    @property
    def reason(self) -> str | None:
        """The user's reason for the decision."""
        return self.raw_reason or next((one.reason for one in self.approvals or () if one.reason), None)


class EventMessage(MessageRecord, kw_only=True, frozen=True):
    """A message about an event, such as the summarization of old messages."""

    role: ClassVar[MessageRole] = MessageRole.SYSTEM
    event_type: str | None = None
    summary: str | None = None

    @property
    def text(self) -> str | None:
        """The event's summary."""
        return self.summary


class OpaqueMessage(MessageRecord, kw_only=True, frozen=True):
    """A message that the gateway cannot decode. ``json`` is the message's JSON object."""

    json: Any = msgspec.field(default=None, name="agentgraph.json")

    @property
    def type(self) -> str:
        """Letta's name for the message's type."""
        return self.message_type


class _Head(msgspec.Struct, frozen=True):
    message_type: str = ""


class _Alert(msgspec.Struct, frozen=True):
    type: str = ""
    message: str = ""


CLASSES: dict[str, type[MessageRecord]] = {
    "user_message": UserMessage,
    "assistant_message": AssistantMessage,
    "system_message": SystemMessage,
    "reasoning_message": ReasoningMessage,
    "hidden_reasoning_message": ReasoningMessage,
    "tool_call_message": ToolCallMessage,
    "tool_return_message": ToolReturnMessage,
    "approval_request_message": ApprovalRequestMessage,
    "approval_response_message": ApprovalResponseMessage,
    "event_message": EventMessage,
    "event": EventMessage,
    "summary_message": EventMessage,
}
"""The class of each type of message."""
MESSAGE_CLASSES: tuple[type[MessageRecord], ...] = (*dict.fromkeys(CLASSES.values()), OpaqueMessage)
"""The types of messages."""
_LETTA_ID = attrgetter("letta_id")
_ANY_OF = ("id", "message_type")
"""Every message has at least one of these fields."""
_RAWS = msgspec.json.Decoder(Page[msgspec.Raw])
_HEAD = msgspec.json.Decoder(_Head)
_ALERT = msgspec.json.Decoder(_Alert)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_COMMON = [field for field in fields(MessageRecord) if field.name not in {"read_in", "ordinal", "group_size"}]
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(cls) for kind, cls in CLASSES.items()}


def decode_message(raw: bytes, conversation: ConversationRef) -> MessageRecord:
    """Decode one message from Letta. Raises UpstreamError (``DECODE``) if ``raw`` is not a JSON object."""
    try:
        record: MessageRecord = _DECODERS[_HEAD.decode(raw).message_type].decode(raw)
    except (KeyError, msgspec.ValidationError):
        record = _opaque(decode(Service.LETTA, _OBJECT, raw))
    except UNREADABLE as error:
        raise undecodable(Service.LETTA) from error
    if record.__class__ is UserMessage and (alert := _system_alert(record.text)) is not None:
        record = _as_system(record, alert)
    force_setattr(record, "read_in", conversation)  # nothing else has read the record: a copy would take as long
    return record


def placed(record: MessageRecord, conversation: ConversationRef | None) -> MessageRecord:
    """Set the conversation of a message that was just decoded, before anything else reads the message."""
    force_setattr(record, "read_in", conversation)  # a copy takes as long as decoding
    return record


def _opaque(body: dict[str, Any]) -> OpaqueMessage:
    known: dict[str, Any] = {}
    for field in _COMMON:
        with suppress(KeyError, msgspec.ValidationError):
            known[field.name] = msgspec.convert(body[field.encode_name], field.type)
    return OpaqueMessage(json=body, **known)


def _system_alert(text: str | None) -> str | None:
    """Return the text of a message's ``system_alert``, if any. Letta reports a compaction with such an alert."""
    if not text or "system_alert" not in text[:200] or not text.lstrip().startswith("{"):
        return None
    try:
        alert = _ALERT.decode(text.encode())
    except UNREADABLE:
        return None
    return alert.message if alert.type == "system_alert" else None


def _as_system(record: MessageRecord, alert: str) -> SystemMessage:
    return SystemMessage(**{field.name: getattr(record, field.name) for field in _COMMON}, content=alert)


def decode_page(body: bytes, conversation: ConversationRef, *, newest_first: bool) -> list[MessageRecord]:
    """Decode a page of messages, and sort the messages from oldest to newest.

    Letta can list a default conversation oldest first even with ``order=desc``. The messages of one group always have
    the same order, so only the groups are reversed.
    """
    records = [decode_message(raw, conversation) for raw in decode(Service.LETTA, _RAWS, body)]
    if any(isinstance(record, OpaqueMessage) and record.json.keys().isdisjoint(_ANY_OF) for record in records):
        raise undecodable(Service.LETTA)
    is_backward = newest_first and not (conversation.conversation_id is None and _ascending(records))
    if len({record.letta_id for record in records}) == len(records):  # no group has several messages
        return records[::-1] if is_backward else records
    groups = [_numbered(list(group)) for _, group in groupby(records, key=_LETTA_ID)]
    if is_backward:
        groups.reverse()
    return [record for group in groups for record in group]


def _numbered(group: list[MessageRecord]) -> list[MessageRecord]:
    """Set the indexes of the messages of a group."""
    for ordinal, member in enumerate(group):
        force_setattr(member, "ordinal", ordinal)
        force_setattr(member, "group_size", len(group))
    return group


def _ascending(records: list[MessageRecord]) -> bool:
    """Return whether the dates of a page's messages are ascending.

    In a fork, the dates are not ascending: the first message is newer than the messages that the fork inherits.
    """
    dates = [record.created_at for record in records if record.created_at is not None]
    return len(dates) < 2 or dates[0] <= dates[-1]
