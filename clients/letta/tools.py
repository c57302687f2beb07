"""Tool calls in messages, decisions on them, and their results."""

from __future__ import annotations

from typing import Any

import msgspec

from clients.decode import OpenEnum


class ToolCall(msgspec.Struct):
    """A tool call. ``arguments`` is JSON text as the model wrote it, valid or not."""

    tool_call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class Approval(msgspec.Struct):
    """A decision on one call."""

    approve: bool | None = None
    reason: str | None = None


class ToolReturnStatus(OpenEnum):
    """The status of a tool's result."""

    SUCCESS = "success"
    ERROR = "error"
    UNKNOWN = "unknown"


class ToolReturn(msgspec.Struct, kw_only=True):
    """The result of one call."""

    tool_call_id: str | None = None
    raw_status: str | None = msgspec.field(default=None, name="status")
    tool_return: Any = None

    @property
    def status(self) -> ToolReturnStatus | None:
        """The status."""
        return None if self.raw_status is None else ToolReturnStatus(self.raw_status)

    @property
    def text(self) -> str | None:
        """The result as text."""
        if self.tool_return is None or isinstance(self.tool_return, str):
            return self.tool_return
        return msgspec.json.encode(self.tool_return).decode()
