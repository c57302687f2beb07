"""The types of Letta's messages, and the functions that decode messages.

Several messages, such as a reasoning message and an assistant message, can share one Letta message id and differ in
``otid``. A message of an unknown type or form is an ``OpaqueMessage``.
"""

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
    """The role of a message's author."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"
    UNKNOWN = "unknown"


class MessageRecord(msgspec.Struct, kw_only=True):
    """The base class of all messages.

    Attributes:
        letta_id: the id ``message-…``, which all messages of a group share.
        otid: distinguishes the messages of a group. The sender of a user message chooses the ``otid``.
        read_in: the message's conversation, which Letta does not send.
        ordinal: the message's index in its group, which has ``group_size`` messages.
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
        """The message's conversation."""
        if self.read_in is None:
            raise TypeError("a message of no conversation")
        return self.read_in

    @property
    def is_known_by_otid(self) -> bool:
        """Whether ``otid`` identifies the message, because the message's sender chose ``otid``."""
        return False

    @property
    def created_at(self) -> datetime | None:
        """The time at which Letta stored the message. ``None`` means that Letta has not stored the message yet."""
        return self.date

    @property
    def text(self) -> str | None:
        """The message's text."""
        return None

    @property
    def weight(self) -> int:
        """The message's approximate size in memory, in bytes."""
        return len(self.text or "")


class _Spoken(MessageRecord, kw_only=True):
    content: Content = None

    @property
    def text(self) -> str | None:
        """The message's text."""
        return text_of(self.content)


class UserMessage(_Spoken, kw_only=True):
    """A message from the user."""

    role: ClassVar[MessageRole] = MessageRole.USER

    @property
    def is_known_by_otid(self) -> bool:
        """Whether the message's sender chose the message's ``otid``."""
        return bool(self.otid)

    @property
    def images(self) -> list[MessageImage]:
        """The message's images."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.source for part in parts if part.type == "image" and part.source is not None]

    @property
    def weight(self) -> int:
        """The message's approximate size in memory, in bytes."""
        return super().weight + sum(len(image.data or "") for image in self.images)


class AssistantMessage(_Spoken, kw_only=True):
    """A message from the agent."""

    role: ClassVar[MessageRole] = MessageRole.ASSISTANT


class SystemMessage(_Spoken, kw_only=True):
    """A message with instructions for the agent.

    The message can also be a notice that Letta has compacted the agent's context.
    """

    role: ClassVar[MessageRole] = MessageRole.SYSTEM


class ReasoningMessage(MessageRecord, kw_only=True):
    """The model's reasoning before an answer."""

    role: ClassVar[MessageRole] = MessageRole.ASSISTANT
    reasoning: str | None = None

    @property
    def text(self) -> str | None:
        """The model's reasoning."""
        return self.reasoning


class _Calling(MessageRecord, kw_only=True):
    role: ClassVar[MessageRole] = MessageRole.ASSISTANT
    tool_call: ToolCall | None = None
    listed_calls: list[ToolCall] | ToolCall | None = msgspec.field(default=None, name="tool_calls")

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The message's tool calls. Letta sends a list in step mode, and one tool call in token mode."""
        calls = self.listed_calls if self.listed_calls is not None else self.tool_call
        if calls is None:
            return []
        return calls if isinstance(calls, list) else [calls]


class ToolCallMessage(_Calling, kw_only=True):
    """A message with the agent's tool calls."""


class ApprovalRequestMessage(_Calling, kw_only=True):
    """A message with tool calls that wait for the user's approval."""


class ToolReturnMessage(MessageRecord, kw_only=True):
    """A message with the results of tool calls. ``status`` and ``tool_return`` describe the first call."""

    role: ClassVar[MessageRole] = MessageRole.TOOL
    name: str | None = None
    tool_call_id: str | None = None
    status: str | None = None
    tool_return: Any = None
    listed_returns: list[ToolReturn] | None = msgspec.field(default=None, name="tool_returns")

    @property
    def tool_returns(self) -> list[ToolReturn]:
        """The result of each tool call."""
        own = ToolReturn(tool_call_id=self.tool_call_id, raw_status=self.status, tool_return=self.tool_return)
        return self.listed_returns or [own]

    @property
    def text(self) -> str | None:
        """The result of the first tool call, as text."""
        return self.tool_returns[0].text


class ApprovalResponseMessage(MessageRecord, kw_only=True):
    """A message with a user's decision on an approval request. The request can have several tool calls."""

    role: ClassVar[MessageRole] = MessageRole.USER
    raw_approve: bool | None = msgspec.field(default=None, name="approve")
    raw_reason: str | None = msgspec.field(default=None, name="reason")
    approvals: list[Approval] | None = None

    @property
    def approve(self) -> bool | None:
        """Whether the user approved every tool call."""
        if self.raw_approve is not None or not self.approvals:
            return self.raw_approve
        return all(approval.approve for approval in self.approvals)

    @property
    def reason(self) -> str | None:
        """The user's reason for the decision."""
        return self.raw_reason or next((one.reason for one in self.approvals or [] if one.reason), None)


class EventMessage(MessageRecord, kw_only=True):
    """A message about an event, such as the summarization of old messages."""

    role: ClassVar[MessageRole] = MessageRole.SYSTEM
    event_type: str | None = None
    summary: str | None = None

    @property
    def text(self) -> str | None:
        """The event's summary."""
        return self.summary


class OpaqueMessage(MessageRecord, kw_only=True):
    """A message that the gateway cannot decode. ``json`` is the message's JSON object."""

    json: Any = msgspec.field(default=None, name="agentgraph.json")

    @property
    def type(self) -> str:
        """Letta's name for the message's type."""
        return self.message_type


class _Head(msgspec.Struct):
    message_type: str = ""


class _Alert(msgspec.Struct):
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
    if isinstance(record, UserMessage) and (alert := _system_alert(record.text)) is not None:
        record = _as_system(record, alert)
    record.read_in = conversation
    return record


def _opaque(body: dict[str, Any]) -> OpaqueMessage:
    record = OpaqueMessage(json=body)
    for field in _COMMON:
        with suppress(KeyError, msgspec.ValidationError):
            setattr(record, field.name, msgspec.convert(body[field.encode_name], field.type))
    return record


def _system_alert(text: str | None) -> str | None:
    """Return the text of a message's ``system_alert``, if any. Letta reports a compaction with such an alert."""
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
    """Decode a page of messages, and sort the messages from oldest to newest.

    Letta can list a default conversation oldest first even with ``order=desc``. The messages of one group always have
    the same order, so only the groups are reversed.
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
    """Return whether the dates of a page's messages are ascending.

    In a fork, the dates are not ascending: the first message is newer than the messages that the fork inherits.
    """
    dates = [record.date for record in records if record.date is not None]
    return len(dates) < 2 or dates[0] <= dates[-1]
