"""Messages that Letta lists and streams, decoded to one record class per ``message_type``.

Several messages can share one Letta message id, as a reasoning and an assistant message do; ``otid`` distinguishes
them. A message of an unknown type or form is an ``OpaqueMessage``.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any, ClassVar

import msgspec
from msgspec.structs import fields

from clients.decode import UNREADABLE, Page, decode, undecodable
from clients.errors import Service
from clients.letta.content import Content, MessageImage, text_of
from clients.letta.tools import Approval, ToolCall, ToolReturn
from clients.owned import ConversationRef


class MessageRole(StrEnum):
    """The author of a message."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"
    UNKNOWN = "unknown"


class MessageRecord(msgspec.Struct, kw_only=True):
    """The fields of every message.

    Attributes:
        letta_id: ``message-…``; shared by the messages of one group.
        otid: distinguishes the messages of a group; for a user message, the id that its sender chose.
        read_in: the conversation that it was read in or sent to; Letta does not send it.
        ordinal: index in its group, which has ``group_size`` messages.
    """

    role: ClassVar[MessageRole] = MessageRole.UNKNOWN

    letta_id: str = msgspec.field(default="", name="id")
    otid: str | None = None
    date: datetime | None = None
    step_id: str | None = None
    run_id: str | None = None
    message_type: str = ""
    read_in: ConversationRef | None = msgspec.field(default=None, name="agentgraph.read_in")
    ordinal: int = 0
    group_size: int = 1

    @property
    def conversation(self) -> ConversationRef:
        """The conversation it is in."""
        if self.read_in is None:
            raise TypeError("a message of no conversation")
        return self.read_in

    @property
    def is_known_by_otid(self) -> bool:
        """Whether its ``otid`` identifies it: its sender chose it before Letta stored the message."""
        return False

    @property
    def created_at(self) -> datetime | None:
        """When Letta stored it; ``None`` before that."""
        return self.date

    @property
    def text(self) -> str | None:
        """The text of the message, if it has any."""
        return None

    @property
    def weight(self) -> int:
        """Its size in memory, about, in bytes."""
        return len(self.text or "")


class _Spoken(MessageRecord, kw_only=True):
    content: Content = None

    @property
    def text(self) -> str | None:
        """See ``MessageRecord``."""
        return text_of(self.content)


class UserMessage(_Spoken, kw_only=True):
    """A message of the user."""

    role: ClassVar[MessageRole] = MessageRole.USER

    @property
    def is_known_by_otid(self) -> bool:
        """Whether its sender chose its ``otid``."""
        return bool(self.otid)

    @property
    def images(self) -> list[MessageImage]:
        """Its images."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.source for part in parts if part.type == "image" and part.source is not None]

    @property
    def weight(self) -> int:
        """Its size in memory, about, in bytes."""
        return super().weight + sum(len(image.data or "") for image in self.images)


class AssistantMessage(_Spoken, kw_only=True):
    """A message of the agent."""

    role: ClassVar[MessageRole] = MessageRole.ASSISTANT


class SystemMessage(_Spoken, kw_only=True):
    """Instructions, and notices of Letta such as a compaction."""

    role: ClassVar[MessageRole] = MessageRole.SYSTEM


class ReasoningMessage(MessageRecord, kw_only=True):
    """The model's reasoning before an answer."""

    role: ClassVar[MessageRole] = MessageRole.ASSISTANT
    reasoning: str | None = None

    @property
    def text(self) -> str | None:
        """The reasoning."""
        return self.reasoning


class _Calling(MessageRecord, kw_only=True):
    role: ClassVar[MessageRole] = MessageRole.ASSISTANT
    tool_call: ToolCall | None = None
    listed_calls: list[ToolCall] | ToolCall | None = msgspec.field(default=None, name="tool_calls")

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls; Letta sends a list in step mode and one object in token mode."""
        calls = self.listed_calls if self.listed_calls is not None else self.tool_call
        if calls is None:
            return []
        return calls if isinstance(calls, list) else [calls]


class ToolCallMessage(_Calling, kw_only=True):
    """The agent calls tools."""


class ApprovalRequestMessage(_Calling, kw_only=True):
    """The agent waits for approval of tool calls."""


class ToolReturnMessage(MessageRecord, kw_only=True):
    """Results of tools. Parallel calls have one message, whose own fields are those of the first call."""

    role: ClassVar[MessageRole] = MessageRole.TOOL
    name: str | None = None
    tool_call_id: str | None = None
    status: str | None = None
    tool_return: Any = None
    listed_returns: list[ToolReturn] | None = msgspec.field(default=None, name="tool_returns")

    @property
    def tool_returns(self) -> list[ToolReturn]:
        """The result of each call."""
        own = ToolReturn(tool_call_id=self.tool_call_id, raw_status=self.status, tool_return=self.tool_return)
        return self.listed_returns or [own]

    @property
    def text(self) -> str | None:
        """The result of the first call, as text."""
        return self.tool_returns[0].text


class ApprovalResponseMessage(MessageRecord, kw_only=True):
    """A decision on an approval request, which can be for several calls."""

    role: ClassVar[MessageRole] = MessageRole.USER
    raw_approve: bool | None = msgspec.field(default=None, name="approve")
    raw_reason: str | None = msgspec.field(default=None, name="reason")
    approvals: list[Approval] | None = None

    @property
    def approve(self) -> bool | None:
        """Whether every call was approved."""
        if self.raw_approve is not None or not self.approvals:
            return self.raw_approve
        return all(approval.approve for approval in self.approvals)

    @property
    def reason(self) -> str | None:
        """The reason that the person gave."""
        return self.raw_reason or next((one.reason for one in self.approvals or [] if one.reason), None)


class EventMessage(MessageRecord, kw_only=True):
    """An event of the conversation, such as a summary of messages that were removed from the context."""

    role: ClassVar[MessageRole] = MessageRole.SYSTEM
    event_type: str | None = None
    summary: str | None = None

    @property
    def text(self) -> str | None:
        """The summary, if there is one."""
        return self.summary


class OpaqueMessage(MessageRecord, kw_only=True):
    """A message of an unknown type or form. ``json`` is the decoded object."""

    json: Any = msgspec.field(default=None, name="agentgraph.json")

    @property
    def type(self) -> str:
        """Letta's name for the type."""
        return self.message_type


class _Head(msgspec.Struct):
    message_type: str = ""


class _Alert(msgspec.Struct):
    type: str = ""
    message: str = ""


_CLASSES: dict[str, type[MessageRecord]] = {
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
_ANY_OF = ("id", "message_type")
"""A message has at least one of these fields."""
_RAWS = msgspec.json.Decoder(Page[msgspec.Raw])
_HEAD = msgspec.json.Decoder(_Head)
_ALERT = msgspec.json.Decoder(_Alert)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_COMMON = [field for field in fields(MessageRecord) if field.name not in {"read_in", "ordinal", "group_size"}]
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(cls) for kind, cls in _CLASSES.items()}


def decode_message(raw: bytes, conversation: ConversationRef) -> MessageRecord:
    """Decode a message of a conversation, listed or streamed. Raises UpstreamError (``DECODE``)."""
    try:
        record: MessageRecord = _DECODERS[_HEAD.decode(raw).message_type].decode(raw)
    except (KeyError, msgspec.ValidationError):
        record = _opaque(decode(Service.LETTA, _OBJECT, raw))
    except UNREADABLE as error:
        raise undecodable(Service.LETTA) from error
    if isinstance(record, UserMessage) and (alert := _system_alert(record.text)) is not None:
        record = _as_system(record, alert)
    record.read_in = conversation
    return record


def _opaque(body: dict[str, Any]) -> OpaqueMessage:
    """A message with those common fields that can be read."""
    record = OpaqueMessage(json=body)
    for field in _COMMON:
        with suppress(KeyError, msgspec.ValidationError):
            setattr(record, field.name, msgspec.convert(body[field.encode_name], field.type))
    return record


def _system_alert(text: str | None) -> str | None:
    """The text of the ``system_alert`` in a user message, by which Letta reports compactions, or ``None``."""
    if not text or "system_alert" not in text[:200] or not text.lstrip().startswith("{"):
        return None
    try:
        alert = _ALERT.decode(text.encode())
    except UNREADABLE:
        return None
    return alert.message if alert.type == "system_alert" else None


def _as_system(record: UserMessage, alert: str) -> SystemMessage:
    return SystemMessage(**{field.name: getattr(record, field.name) for field in _COMMON}, content=alert)


def decode_page(body: bytes, conversation: ConversationRef, *, newest_first: bool) -> list[MessageRecord]:
    """Decode a page of messages. They are returned oldest first.

    Letta returns messages of a ``default`` conversation oldest first even with ``order=desc``; the dates show it.
    Messages of one group have the same order in both cases, so the groups are reversed, and not the messages.
    """
    records = [decode_message(bytes(raw), conversation) for raw in decode(Service.LETTA, _RAWS, body)]
    if any(isinstance(record, OpaqueMessage) and record.json.keys().isdisjoint(_ANY_OF) for record in records):
        raise undecodable(Service.LETTA)
    groups = [_numbered(group) for _, group in groupby(records, key=lambda record: record.letta_id)]
    if newest_first and not (conversation.conversation_id is None and _ascending(records)):
        groups.reverse()
    return [record for group in groups for record in group]


def _numbered(group: Iterable[MessageRecord]) -> list[MessageRecord]:
    members = list(group)
    for ordinal, member in enumerate(members):
        member.ordinal, member.group_size = ordinal, len(members)
    return members


def _ascending(records: list[MessageRecord]) -> bool:
    """Whether a page that was requested newest first is oldest first, as a default conversation's is.

    The dates are not compared in other conversations: a fork's first message is newer than those it inherits.
    """
    dates = [record.date for record in records if record.date is not None]
    return len(dates) < 2 or dates[0] <= dates[-1]
