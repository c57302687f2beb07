"""Finds the content of a streamed response, each part once.

Some providers send a part in pieces, others only when the part, its item or the response is complete.
"""

from typing import Any, NamedTuple

import msgspec

from clients.litellm.fields import Object, as_list, as_object, clean, joined_text, word
from clients.litellm.response_objects import is_call, items_of
from clients.litellm.toolcalls import CallPiece


class ResponseEvent(msgspec.Struct, gc=False):
    """The fields of an event of OpenAI's Responses API. They can have any type."""

    type: Any = None
    delta: Any = None
    output_index: Any = None
    content_index: Any = None
    summary_index: Any = None
    item_id: Any = None
    item: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    sequence_number: Any = None
    response: msgspec.Raw = msgspec.Raw()


class Content(NamedTuple):
    """What an event adds to the answer."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[CallPiece, ...] = ()


NO_CONTENT = Content()
_Key = int | str
"""Identifies an output item: its index, or else its id."""

_PARTS_OF = {
    **dict.fromkeys(("response.output_text", "response.refusal"), "text"),
    **dict.fromkeys(("response.reasoning_summary_text", "response.reasoning_text", "response.reasoning"), "reasoning"),
    **dict.fromkeys(("response.function_call_arguments", "response.custom_tool_call_input"), "call"),
}
"""The content to which an event adds, by the event's type without its last word."""

_STEPS = ("delta", "done")
_TEXTS = ("content", "text", "refusal")
_THOUGHTS = ("summary", "content", "text")


class _Call:
    __slots__ = ("has_arguments", "id", "is_complete", "is_named", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.id: str | None = None
        self.has_arguments = self.is_complete = self.is_named = False


class ResponseContent:
    """Finds the content of one response. ``of`` must be called for each event, in order."""

    __slots__ = ("_calls", "_indexes", "_seen")

    def __init__(self) -> None:
        self._calls: dict[_Key, _Call] = {}
        self._indexes: dict[str, _Key] = {}
        self._seen: set[tuple[str, _Key, int]] = set()

    def add_text(self, index: object, item_id: object, part: int) -> None:
        """Record that an event has a piece of the text of an item's part. ``index`` and ``item_id`` name the item."""
        self._seen.add(("text", self._key(index, item_id), part))

    def of(self, kind: str, event: ResponseEvent) -> Content:
        """Return the content of an event of the type ``kind``."""
        base, _, step = kind.rpartition(".")
        if base == "response.output_item":
            item = as_object(event.item)
            return self._item(self._key(event.output_index, item.get("id")), item, is_done=step == "done")
        part = _PARTS_OF.get(base)
        if part is None or step not in _STEPS:
            return NO_CONTENT
        key = self._key(event.output_index, event.item_id)
        complete = next(filter(None, (event.text, event.refusal, event.arguments, event.input)), "")
        value = event.delta if step == "delta" else complete
        text = clean(value) if isinstance(value, str) else ""
        if part == "call":
            return self._arguments(key, text, is_done=step == "done")
        seen = (part, key, part_of(event))
        if step == "done" and seen in self._seen:
            return NO_CONTENT
        self._seen.add(seen)
        return Content(text=text) if part == "text" else Content(reasoning=text)

    def rest(self, response: Object) -> list[Content]:
        """Return the content of a complete response that no event has had."""
        has = {part for part, _, _ in self._seen}
        ids = {call.id for call in self._calls.values()}
        found: list[Content] = []
        for item in items_of(response):
            if is_call(item):
                if word(item.get("call_id")) not in ids and None not in ids:
                    found.append(self._call(f"rest {len(self._calls)}", item))
            elif item.get("type") == "reasoning":
                if "reasoning" not in has:
                    found.append(Content(reasoning=joined_text(item, _THOUGHTS)))
            elif "text" not in has:
                found.append(Content(text=joined_text(item, _TEXTS)))
        return [content for content in found if content != NO_CONTENT]

    def _item(self, key: _Key, item: Object, *, is_done: bool) -> Content:
        if is_call(item):
            return self._call(key, item)
        if not is_done:
            return NO_CONTENT
        if item.get("type") == "reasoning":
            if any(part == "reasoning" and at == key for part, at, _ in self._seen):
                return NO_CONTENT
            self._seen.add(("reasoning", key, 0))
            return Content(reasoning=joined_text(item, _THOUGHTS))
        text = ""
        for index, part in enumerate(as_list(item.get("content"))):
            if ("text", key, index) not in self._seen:
                self._seen.add(("text", key, index))
                text += joined_text(part, _TEXTS)
        return Content(text=text)

    def _call(self, key: _Key, item: Object) -> Content:
        """Return what an item adds to a tool call: its name and id, and its arguments if no event had them."""
        call = self._known(key)
        name = call_id = None
        if not call.is_named:
            call.is_named = True
            name, call_id = word(item.get("name")), word(item.get("call_id")) or word(item.get("id"))
            call.id = call_id
        sent = item.get("arguments") or item.get("input")
        arguments = clean(sent) if isinstance(sent, str) and not call.has_arguments else ""
        call.has_arguments = call.is_complete = call.has_arguments or bool(arguments)
        if name is None and call_id is None and not arguments:
            return NO_CONTENT
        return Content(calls=(CallPiece(index=call.number, id=call_id, name=name, arguments=arguments),))

    def _arguments(self, key: _Key, text: str, *, is_done: bool) -> Content:
        call = self._known(key)
        if not text or call.is_complete or (is_done and call.has_arguments):
            return NO_CONTENT
        call.has_arguments, call.is_complete = True, is_done
        return Content(calls=(CallPiece(index=call.number, arguments=text),))

    def _key(self, index: object, item_id: object) -> _Key:
        """Return the key under which an item was first seen. Some events have only an index, and others only an id."""
        if not isinstance(item_id, str):
            return index if type(index) is int else 0
        known = self._indexes.get(item_id)
        if type(index) is int and not isinstance(known, str):
            self._indexes[item_id] = index
            return index
        return self._indexes.setdefault(item_id, item_id)

    def _known(self, key: _Key) -> _Call:
        return self._calls.setdefault(key, _Call(len(self._calls)))


def part_of(event: ResponseEvent) -> int:
    """Return the index of the part of an item to which an event adds, or 0 if there is none."""
    for index in (event.content_index, event.summary_index):
        if type(index) is int:
            return index
    return 0
