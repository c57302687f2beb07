"""Completes the reasoning items of OpenAI's Responses API.

LiteLLM's bridge to chat completions streams reasoning as a summary, and then sends an item with ``content`` and without
``summary``. OpenAI's API requires ``summary`` in each reasoning item, and SDKs read it.
"""

from collections.abc import Iterable

import msgspec

from clients.decode import UNREADABLE
from clients.litellm.fields import Object, as_json, as_list, as_object, json_object

_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_KIND = b'"reasoning"'
_BRIDGED = ("content", "role")
"""The fields of a message, which only LiteLLM's bridge adds to a reasoning item."""


def may_have_reasoning(data: bytes) -> bool:
    """Return whether JSON text can contain a reasoning item."""
    return _KIND in data


def complete_output(output: msgspec.Raw, *, encrypted: bool) -> msgspec.Raw:
    """Complete the reasoning items of a response's ``output``. Other items are unchanged, byte for byte.

    Args:
        output: the JSON list of items. Other data is returned unchanged.
        encrypted: whether each reasoning item gets a text ``encrypted_content``, which is empty if LiteLLM sent none.
    """
    if not may_have_reasoning(bytes(output)):
        return output
    try:
        items: Iterable[msgspec.Raw] = _LIST.decode(output)
    except UNREADABLE:
        return output
    return msgspec.Raw(msgspec.json.encode([complete_item(item, encrypted=encrypted) for item in items]))


def complete_item(item: msgspec.Raw, *, encrypted: bool) -> msgspec.Raw:
    """Complete an item if it is a reasoning item."""
    if not may_have_reasoning(bytes(item)):
        return item
    wire = as_object(json_object(bytes(item)))
    if wire.get("type") != "reasoning":
        return item
    if not isinstance(wire.get("summary"), list):
        wire = {name: value for name, value in wire.items() if name not in _BRIDGED} | {"summary": _summary(wire)}
    if encrypted and not isinstance(wire.get("encrypted_content"), str):
        wire = wire | {"encrypted_content": ""}
    return msgspec.Raw(as_json(wire).encode() or bytes(item))


def _summary(item: Object) -> list[Object]:
    texts = (as_object(part).get("text") for part in as_list(item.get("content")))
    return [{"type": "summary_text", "text": text} for text in texts if isinstance(text, str)]
