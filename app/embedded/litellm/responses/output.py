"""Makes the output items of a response, and the events of its stream, from a completion's deltas.

The items of a provider's own Responses API (*native*) and those of LiteLLM's bridge to completions differ in their ids
and fields. The bridge ends reasoning, which it has sent as a summary, as an item with text.
"""

from __future__ import annotations

import base64
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from app.embedded.litellm.responses.inputs import new_id
from app.embedded.state import Json

Event = tuple[str, Json]
"""An event's type and fields, without its sequence number."""


@dataclass
class _Item(ABC):
    """An output item that is being streamed. ``index`` is its place in the output."""

    index: int
    native: bool
    id: str
    text: str = ""
    status: str = "completed"
    kind: ClassVar[str]

    @property
    def at(self) -> Json:
        """The fields that name the item in its events."""
        return {"item_id": self.id, "output_index": self.index}

    def added(self, item: Json) -> Event:
        """Return the event of the item's beginning."""
        fields = {"id": self.id, "type": self.kind, "status": "in_progress", **item}
        return "response.output_item.added", {"output_index": self.index, "item": fields}

    def done(self, item: Json) -> Event:
        """Return the event of the item's end."""
        return "response.output_item.done", {"output_index": self.index, "item": item}

    @abstractmethod
    def opening(self) -> list[Event]:
        """Return the events before the text."""

    @abstractmethod
    def delta(self, text: str) -> Event:
        """Return the event of a piece of text."""

    @abstractmethod
    def closing(self) -> list[Event]:
        """Return the events after the text."""

    @abstractmethod
    def whole(self) -> Json:
        """Return the item, without null fields."""


class _Message(_Item):
    kind = "message"

    @property
    def _logprobs(self) -> Json:
        return {"logprobs": []} if self.native else {}

    @property
    def _part(self) -> Json:
        return {"type": "output_text", "text": self.text, "annotations": [], **self._logprobs}

    def opening(self) -> list[Event]:
        part = {**self.at, "content_index": 0, "part": self._part}
        return [self.added({"role": "assistant", "content": []}), ("response.content_part.added", part)]

    def delta(self, text: str) -> Event:
        return "response.output_text.delta", {**self.at, "content_index": 0, "delta": text, **self._logprobs}

    def closing(self) -> list[Event]:
        at = {**self.at, "content_index": 0}
        return [
            ("response.output_text.done", {**at, "text": self.text, **self._logprobs}),
            ("response.content_part.done", {**at, "part": self._part}),
            self.done(self.whole()),
        ]

    def whole(self) -> Json:
        return {"id": self.id, "type": self.kind, "status": self.status, "role": "assistant", "content": [self._part]}


@dataclass
class _Reasoning(_Item):
    encrypted: bool = False
    kind = "reasoning"

    @property
    def _secret(self) -> Json:
        """The reasoning for a later request, which only the provider can read."""
        if not self.encrypted:
            return {}
        return {"encrypted_content": "gAAAAA" + base64.urlsafe_b64encode(self.id.encode()).decode()}

    @property
    def _summary(self) -> list[Json]:
        return [{"type": "summary_text", "text": self.text}]

    @property
    def _place(self) -> Json:
        return {**self.at, "summary_index": 0}

    def opening(self) -> list[Event]:
        if not self.native:
            return [self.added({})]
        part = {**self._place, "part": {"type": "summary_text", "text": ""}}
        return [self.added({"summary": [], **self._secret}), ("response.reasoning_summary_part.added", part)]

    def delta(self, text: str) -> Event:
        return "response.reasoning_summary_text.delta", {**(self._place if self.native else self.at), "delta": text}

    def closing(self) -> list[Event]:
        return [
            ("response.reasoning_summary_text.done", {**self._place, "text": self.text}),
            ("response.reasoning_summary_part.done", {**self._place, "part": self._summary[0]}),
            self.done({"id": self.id, "type": self.kind, "summary": self._summary, **self._secret}),
        ]

    def whole(self) -> Json:
        if self.native:
            return {"id": self.id, "type": self.kind, "summary": self._summary, **self._secret}
        part = {"type": "output_text", "text": self.text, "annotations": []}
        return {"id": self.id, "type": self.kind, "status": "completed", "role": "assistant", "content": [part]}


@dataclass
class _Call(_Item):
    call_id: str = ""
    name: str = ""
    kind = "function_call"

    def opening(self) -> list[Event]:
        return [self.added({"call_id": self.call_id, "name": self.name, "arguments": ""})]

    def delta(self, text: str) -> Event:
        return "response.function_call_arguments.delta", {**self.at, "delta": text}

    def closing(self) -> list[Event]:
        arguments = {**self.at, "arguments": self.text}
        return [("response.function_call_arguments.done", arguments), self.done(self.whole())]

    def whole(self) -> Json:
        named = {"id": self.id, "type": self.kind, "status": self.status, "call_id": self.call_id, "name": self.name}
        return {**named, "arguments": self.text}


class Output:
    """The output items of a response. ``items`` are the items that have ended, without null fields.

    ``encrypted`` says whether a native response's reasoning items have ``encrypted_content``.
    """

    def __init__(self, *, native: bool, encrypted: bool = False) -> None:
        self.items: list[Json] = []
        self._native = native
        self._encrypted = native and encrypted
        self._open: _Item | None = None

    def add(self, delta: Json) -> list[Event]:
        """Add a completion's delta, and return its events."""
        events: list[Event] = []
        if thought := delta.get("reasoning_content"):
            events += self._say(_Reasoning, thought)
        if text := delta.get("content"):
            events += self._say(_Message, text)
        for piece in delta.get("tool_calls") or []:
            function = piece["function"]
            if "name" in function:
                item_id = new_id("function_call") if self._native else f"fc_{piece['id']}"
                call = _Call(0, self._native, item_id, call_id=piece["id"], name=function["name"])
                events += self._begin(call)
            if self._open is not None and (arguments := function["arguments"]):
                events.append(self._piece(self._open, arguments))
        return events

    def end(self, status: str = "completed") -> list[Event]:
        """End the open item with a status, and return its events."""
        item, self._open = self._open, None
        if item is None:
            return []
        item.status = status
        self.items.append(item.whole())
        return item.closing()

    def _say(self, kind: type[_Message | _Reasoning], text: str) -> list[Event]:
        """Add text to an item of a kind, which begins unless it is open."""
        item, begun = self._open, []
        if not isinstance(item, kind):
            item = kind(0, self._native, new_id(kind.kind) if self._native else _bridged_id(kind.kind))
            if isinstance(item, _Reasoning):
                item.encrypted = self._encrypted
            begun = self._begin(item)
        return [*begun, self._piece(item, text)]

    def _begin(self, item: _Item) -> list[Event]:
        ended = self.end()
        item.index, self._open = len(self.items), item
        return [*ended, *item.opening()]

    @staticmethod
    def _piece(item: _Item, text: str) -> Event:
        item.text += text
        return item.delta(text)


def _bridged_id(kind: str) -> str:
    return f"{'rs' if kind == 'reasoning' else 'msg'}_{uuid.uuid4()}"


_NULLS = {
    "message": ("phase",),
    "reasoning": ("content", "encrypted_content", "status"),
    "bridged reasoning": ("phase",),
    "function_call": ("async", "caller", "namespace"),
}
_TOOL_NULLS = ("strict", "allowed_callers", "async", "defer_loading", "description", "output_schema")


def with_nulls(item: Json) -> Json:
    """Return an output item with the null fields that LiteLLM adds to whole responses."""
    kind = item["type"]
    names = _NULLS["bridged reasoning" if kind == "reasoning" and "summary" not in item else kind]
    return {**dict.fromkeys(names), **item}


def tool_with_nulls(tool: Json) -> Json:
    """Return a tool with the null fields that LiteLLM adds to whole responses."""
    return {**dict.fromkeys(_TOOL_NULLS), **tool} if tool.get("type") == "function" else tool
