"""What a request to a model may carry: tools that the caller runs, and addresses of the public internet.

LiteLLM and the providers behind it fetch what a request names: images and files, MCP servers, remote references of a
JSON schema. Every door that sends a request on has it vetted here (decision 0041).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NewType

import msgspec

from clients.errors import BadUserInput
from resolvers.checks import MAX_NESTING
from resolvers.images import is_image
from resolvers.public_urls import is_public, looks_like_address

Vetted = NewType("Vetted", dict[str, Any])
"""The body of a request that may be sent to LiteLLM."""

MAX_ADDRESSES = 100
"""How many addresses one request may have fetched."""

_TOOL_TYPE = re.compile(
    r"function|custom|(?:computer|bash|text_editor|memory)_\d{8}|tool_search_tool_(?:regex|bm25)_\d{8}"
)
"""Tools that the caller runs, or that search the request itself. Every other type makes LiteLLM or the provider call an
address, read a store, ask another model or run code: ``mcp``, ``url``, ``web_fetch``, ``file_search``, ``advisor``.
"""

_PARTS = frozenset({
    "text", "refusal", "image_url", "input_audio", "file", "video_url", "audio_url", "image", "document",
    "tool_result", "tool_use", "tool_reference", "thinking", "redacted_thinking", "reasoning", "search_result",
    "input_text", "input_image", "input_file", "guarded_text", "content", "server_tool_use", "web_search_tool_result",
    "web_search_result", "compaction",
})  # fmt: skip
"""The types of parts that OpenAI, Anthropic and LiteLLM know. A part of another type carries no address."""

_WORDS = frozenset({
    "text", "content", "refusal", "name", "role", "type", "id", "arguments", "description", "title", "thinking",
    "signature", "reasoning", "reasoning_content", "transcript", "context", "filename", "format", "detail",
    "media_type", "mime_type", "tool_call_id", "tool_use_id", "cited_text",
})  # fmt: skip
"""Fields of text that a model reads and nobody fetches."""

_MEDIA = frozenset({
    "video_url", "audio_url", "file", "file_id", "file_data", "file_url", "file_uri", "url", "uri", "image", "images",
    "video", "audio", "data",
})  # fmt: skip
"""Fields that hold an address, an id with the provider, or the bytes in base64. Only an address has a colon in it."""

_SCHEMAS = frozenset({"parameters", "input_schema", "schema"})
_ECHOED = frozenset({"annotations", "citations", "input"})
"""Parts of earlier answers that are sent back: what a model has cited, and what it has called a tool with."""

_FOUND = frozenset({"web_search_result", "url_citation", "web_search_result_location"})
"""Objects whose ``url`` says where a text was found."""

_PLAIN = frozenset({"role", "content", "name", "tool_call_id"})
_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_STORED = re.compile(r"\s*(?:gs|s3|file)://", re.IGNORECASE)
_SHOWN = 100


def vet_chat(body: dict[str, Any]) -> Vetted:
    """Check a chat completion request.

    Raises:
        BadUserInput: reason ``MODEL``, ``TOOLS``, ``IMAGE``, ``ADDRESS``, ``SCHEMA`` or ``REQUEST``; its ``param``
            names the place.
    """
    _check_model(body["model"])
    _check_tool_types(body.get("tools") or [])
    visit = _Visit()
    for name, value in body.items():
        if name == "messages":
            for index, message in enumerate(value):
                if not _is_plain(message):
                    visit.look(message, f"messages[{index}]", name)
        elif isinstance(value, dict | list):
            visit.look(value, name, name, schemas=True)
    return Vetted(body)


def vet_embeddings(body: dict[str, Any]) -> Vetted:
    """Check an embeddings request. Some models read an input such as ``s3://bucket/key`` with the platform's rights.

    Raises:
        BadUserInput: reason ``MODEL`` or ``ADDRESS``.
    """
    _check_model(body["model"])
    given = body["input"]
    for index, text in enumerate(given if isinstance(given, list) else [given]):
        if isinstance(text, str) and _STORED.match(text):
            place = f"input[{index}]" if isinstance(given, list) else "input"
            raise _refused("ADDRESS", place, f"{place} is an address in a store, which is not taken as a text.")
    return Vetted(body)


def _check_model(model: str) -> None:
    """LiteLLM asks each of several models parted by commas, and calls the address that a model's name ends with."""
    if "," in model or "://" in model:
        raise _refused("MODEL", "model", "model is the name of one model, as in `models`.")


def _check_tool_types(tools: list[dict[str, Any]]) -> None:
    for index, tool in enumerate(tools):
        if _TOOL_TYPE.fullmatch(tool["type"]) is None:
            place = f"tools[{index}].type"
            raise _refused(
                "TOOLS",
                place,
                f"{place} is {tool['type'][:_SHOWN]!r}, which is not taken: define a function or a custom tool that "
                "you run yourself. For a web search, use web_search_options.",
            )


def _is_plain(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return (content is None or isinstance(content, str)) and message.keys() <= _PLAIN


class _Visit:
    """One look through a request: every text that may be fetched is judged, at any depth."""

    def __init__(self) -> None:
        self._addresses = 0

    def look(
        self, value: Any, place: str, field: str, *, depth: int = 0, known: bool = True, schemas: bool = False
    ) -> None:
        """Judge the texts in a value.

        Args:
            value: any JSON.
            place: where it stands, for the error.
            field: the name of the field that it is the value of, or is in the list of.
            depth: how deep it is nested.
            known: whether it stands in a shape whose fields are known; another one may carry no address.
            schemas: whether it may hold JSON schemas, in which texts are patterns and descriptions.

        Raises:
            BadUserInput: see ``vet_chat``.
        """
        if isinstance(value, str):
            self._judge(value, place, field, known=known)
        elif isinstance(value, dict | list):
            if depth > MAX_NESTING:
                raise _refused("REQUEST", place, f"A request is nested at most {MAX_NESTING} deep.")
            for name, inner, where in _inside(value, place, field):
                if schemas and name in _SCHEMAS:
                    _check_schema(inner, where)
                else:
                    is_known = known and not _is_unknown_part(name, inner)
                    self.look(inner, where, name, depth=depth + 1, known=is_known, schemas=schemas)

    def _judge(self, text: str, place: str, field: str, *, known: bool) -> None:
        if field in _WORDS:
            return
        if field == "image_url":
            if not is_image(text):
                raise _refused("IMAGE", place, f"{place} is a public https URL, or a data URL of an image in base64.")
        elif not (":" in text or looks_like_address(text) if field in _MEDIA else looks_like_address(text)):
            return
        elif _DATA.match(text) is None and not is_public(text):
            raise _refused("ADDRESS", place, f"{place} is an address: it must be a public https URL.")
        if not known:
            raise _refused("ADDRESS", place, f"{place} is an address in a part of an unknown type.")
        self._addresses += not text.startswith("data:")
        if self._addresses > MAX_ADDRESSES:
            raise _refused("RANGE", place, f"A request has at most {MAX_ADDRESSES} addresses to fetch.")


def _inside(value: dict[str, Any] | list[Any], place: str, field: str) -> Iterator[tuple[str, Any, str]]:
    """The values in a value that may lead to an address: the field of each, itself, and its place."""
    if isinstance(value, list):
        yield from ((field, inner, f"{place}[{index}]") for index, inner in enumerate(value))
        return
    passed = _ECHOED | {"url"} if _type(value) in _FOUND else _ECHOED
    if _type(value) == "text":  # a document of plain text has it in its data
        passed |= {"data"}
    for name, inner in value.items():
        if name not in passed:
            is_image_url = name == "url" and field == "image_url"
            yield "image_url" if is_image_url else name, inner, f"{place}.{name[:_SHOWN]}"


def _is_unknown_part(field: str, value: Any) -> bool:
    """Whether this is a part of a message, and of a type that nobody knows."""
    return field == "content" and isinstance(value, dict) and _type(value) not in _PARTS


def _type(value: dict[str, Any]) -> str:
    """The type that an object says it has; empty where it says none."""
    said = value.get("type")
    return said if isinstance(said, str) else ""


def _check_schema(schema: Any, place: str) -> None:
    """A validator fetches a reference that does not begin with ``#``. They are rare: the texts are searched first."""
    try:
        text = msgspec.json.encode(schema)
    except RecursionError as error:
        raise _refused("REQUEST", place, f"{place} is nested too deeply.") from error
    if b'ef":"' in text and any(not reference.startswith("#") for reference in _references(schema)):
        raise _refused("SCHEMA", place, f"{place} refers to another document: a $ref must begin with '#'.")


def _references(schema: Any) -> Iterator[str]:
    left = [schema]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield from (value[name] for name in _REFERENCES if isinstance(value.get(name), str))
            left += value.values()
        elif isinstance(value, list):
            left += value


def _refused(reason: str, place: str, message: str) -> BadUserInput:
    return BadUserInput(message, reason=reason, details={"param": place})
