"""Types for tool calls, approvals of tool calls, and results of tool calls."""

from typing import Any

import msgspec

from clients.decode import OpenEnum


class ToolCall(msgspec.Struct, frozen=True):
    """An agent's call of a tool. ``arguments`` is JSON text from the model, and the JSON can be invalid."""

    tool_call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class Approval(msgspec.Struct, frozen=True):
    """The user's decision on one tool call."""

    approve: bool | None = None
    reason: str | None = None


class ToolReturnStatus(OpenEnum):
    """Whether a tool call succeeded."""

    SUCCESS = "success"
    ERROR = "error"
    UNKNOWN = "unknown"


class ToolReturn(msgspec.Struct, kw_only=True, frozen=True):
    """The result of one tool call."""

    tool_call_id: str | None = None
    raw_status: str | None = msgspec.field(default=None, name="status")
    tool_return: Any = None

    @property
    def status(self) -> ToolReturnStatus | None:
        """Whether the tool call succeeded."""
        return None if self.raw_status is None else ToolReturnStatus(self.raw_status)

    @property
    def text(self) -> str | None:
        """The tool call's result, as text."""
        if self.tool_return is None or isinstance(self.tool_return, str):
            return self.tool_return
        return msgspec.json.encode(self.tool_return).decode()
