"""Checks model requests to prevent SSRF. Tools must run in the client, and URLs must be public.

LiteLLM and the providers fetch the URLs in a request: images, files, MCP servers and references in JSON schemas. Every
endpoint that forwards a request checks the request here (decision 0041).
"""

import re
from typing import Any, NewType, TypeAlias

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.checks import MAX_NESTING
from resolvers.images import is_image
from resolvers.public_urls import is_public, looks_like_address
from resolvers.responses.items import own_items

Path: TypeAlias = "tuple[str] | tuple[Path, str | int]"
"""The path of a JSON value: a parameter's name, or the parent's path with a name or index."""

Vetted = NewType("Vetted", dict[str, Any])
"""A request body that passed the SSRF checks."""

MAX_ADDRESSES = 100


_TOOL_TYPE = re.compile(
    r"function|custom|(?:computer|bash|text_editor|memory)_\d{8}|tool_search_tool_(?:regex|bm25)_\d{8}"
)
"""The types of tools that the client runs, or that search only the request. For other types, such as ``mcp`` and
``file_search``, LiteLLM or the provider fetches a URL, reads a store, calls a model or runs code.
"""

_RESPONSE_TOOL_TYPE = re.compile(
    r"function|custom|local_shell|apply_patch|computer(?:_use_preview)?|web_search(?:_preview)?(?:_\d{4}_\d\d_\d\d)?"
)
"""The types of tools in OpenAI's Responses API that the client runs, and the web search, which chat completions have
as ``web_search_options``. All other types run in a service, or are charged apart from the model.
"""

_PARTS = frozenset({
    "text", "refusal", "image_url", "input_audio", "file", "video_url", "audio_url", "image", "document",
    "tool_result", "tool_use", "tool_reference", "thinking", "redacted_thinking", "reasoning", "search_result",
    "input_text", "input_image", "input_file", "guarded_text", "content", "server_tool_use", "web_search_tool_result",
    "web_search_result", "compaction", "output_text", "summary_text", "reasoning_text", "computer_screenshot",
})  # fmt: skip
"""The types of content parts that OpenAI, Anthropic and LiteLLM define. A part of another type must not contain a URL.
"""

_WORDS = frozenset({
    "text", "content", "definition", "refusal", "name", "role", "type", "id", "arguments", "description", "title",
    "thinking",
    "signature", "reasoning", "reasoning_content", "transcript", "context", "filename", "format", "detail",
    "media_type", "mime_type", "tool_call_id", "tool_use_id", "cited_text",
})  # fmt: skip
"""Text fields that only a model reads, and that no service fetches."""

_MEDIA = frozenset({
    "video_url", "audio_url", "file", "file_id", "file_data", "file_url", "file_uri", "url", "uri", "image", "images",
    "video", "audio", "data",
})  # fmt: skip
"""Fields with a URL, a provider's id or base64 data. Only a URL contains a colon."""

_ECHOED = frozenset({"annotations", "citations", "input"})
"""Fields of a model's answer that clients send back to the model: citations and tool call arguments."""

_SCHEMAS = frozenset({"parameters", "input_schema", "schema"})
_FOUND = frozenset({"web_search_result", "url_citation", "web_search_result_location"})
"""Types of objects whose ``url`` only names the source of a text."""

_OUTPUTS = frozenset({"output", "encrypted_content", "call_id"})
"""Text fields of a response's items that only a model reads."""

_CHECKED = frozenset({"messages", "stop"})
_PLAIN = frozenset({"role", "content", "name", "tool_call_id", "tool_calls"})
_CALL, _CALLED = frozenset({"id", "type", "function", "index"}), frozenset({"name", "arguments"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_STORED = re.compile(r"\s*(?:gs|s3|file)://", re.IGNORECASE)
_SHOWN = 100


def vet_chat(body: dict[str, Any]) -> Vetted:
    """Check a chat completion request to prevent SSRF.

    Raises:
        BadUserInput: reason ``MODEL``, ``TOOLS``, ``IMAGE``, ``ADDRESS``, ``SCHEMA``, ``RANGE`` or ``REQUEST``. The
            error's ``param`` is the path of the value.
    """
    _check_model(body["model"])
    _check_tool_types(body.get("tools") or [], _TOOL_TYPE, "For a web search, use web_search_options.")
    visit = _Visit()
    for index, message in enumerate(body["messages"]):
        if not _is_plain(message):
            visit.check(message, (("messages",), index), "messages")
    visit.opaque = _ECHOED | _SCHEMAS
    for name, value in body.items():
        if isinstance(value, dict | list) and name not in _CHECKED:
            _check_references(value, (name,))
            visit.check(_without_functions(value) if name == "tools" else value, (name,), name)
    return Vetted(body)


def vet_response(body: dict[str, Any]) -> Vetted:
    """Check a request to create a response, to prevent SSRF, and return it with ``own_items``.

    Raises:
        BadUserInput: a reason of ``vet_chat``, or ``MESSAGE``.
    """
    _check_model(body["model"])
    _check_tool_types(body.get("tools") or [], _RESPONSE_TOOL_TYPE, "For a web search, use the type web_search.")
    visit = _Visit()
    visit.words = _WORDS | _OUTPUTS
    visit.opaque = _ECHOED | {"logprobs"}
    if isinstance(body["input"], list):
        body = {**body, "input": own_items(body["input"])}
        for index, item in enumerate(body["input"]):
            visit.check(item, (("input",), index), "input")
    visit.opaque = visit.opaque | _SCHEMAS
    for name, value in body.items():
        if isinstance(value, dict | list) and name != "input":
            _check_references(value, (name,))
            visit.check(value, (name,), name)
    return Vetted(body)


def vet_embeddings(body: dict[str, Any]) -> Vetted:
    """Check an embeddings request to prevent SSRF. Some models fetch ``s3://`` URLs with the platform's credentials."""
    _check_model(body["model"])
    inputs = body["input"]
    for index, text in enumerate(inputs if isinstance(inputs, list) else [inputs]):
        if isinstance(text, str) and _STORED.match(text):
            path: Path = (("input",), index) if isinstance(inputs, list) else ("input",)
            message = f"{_written(path)} is a storage URL, which is not allowed. Send the text."
            raise _refused(Reason.ADDRESS, path, message)
    return Vetted(body)


def _check_model(model: str) -> None:
    """Refuse a model name that contains a URL or a comma.

    LiteLLM would use the URL, or would call several models.
    """
    if "," in model or "://" in model:
        raise _refused(
            Reason.MODEL, ("model",), "`model` must be the name of one model. Choose a model from the list of models."
        )


def _check_tool_types(tools: list[dict[str, Any]], allowed: re.Pattern[str], advice: str) -> None:
    for index, tool in enumerate(tools):
        kind = tool["type"]
        if kind != "function" and allowed.fullmatch(kind) is None:
            raise _refused(
                Reason.TOOLS,
                ((("tools",), index), "type"),
                f"tools[{index}].type is {kind[:_SHOWN]!r}, which is not allowed. Define a function or a custom tool "
                f"that you run yourself. {advice}",
            )


def _without_functions(tools: Any) -> list[Any]:
    """Replace plain function tools with ``None``, because these tools need no check."""
    return [None if _is_plain_function(tool) else tool for tool in tools]


def _is_plain_function(tool: dict[str, Any]) -> bool:
    function = tool.get("function")
    return len(tool) == 2 and isinstance(function, dict) and function.keys() <= _FUNCTION


def _is_plain(message: dict[str, Any]) -> bool:
    content, calls = message.get("content"), message.get("tool_calls")
    is_text = (content is None or isinstance(content, str)) and message.keys() <= _PLAIN
    return is_text and (calls is None or all(map(_is_plain_call, calls)))


def _is_plain_call(call: dict[str, Any]) -> bool:
    function = call.get("function")
    if not isinstance(function, dict) or not (call.keys() <= _CALL and function.keys() <= _CALLED):
        return False
    return isinstance(function.get("name"), str) and isinstance(function.get("arguments", ""), str)


class _Visit:
    """Checks all texts in one request, at any depth, because a service may fetch a text that is a URL."""

    def __init__(self) -> None:
        self.opaque = _ECHOED
        self.words = _WORDS
        self._addresses = 0

    def check(self, value: Any, path: Path, field: str, depth: int = 0, *, known: bool = True) -> None:
        """Check the texts in a JSON value. ``field`` is the name of the field that contains the value.

        ``known`` is False in a part of an unknown type, which must not contain a URL.
        """
        if depth > MAX_NESTING:
            raise _refused(
                Reason.REQUEST,
                path,
                f"The request has more than {MAX_NESTING} levels of nesting. Reduce the nesting to {MAX_NESTING} "
                "levels.",
            )
        exempt = self._exempt(value) if isinstance(value, dict) else ()
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in pairs:
            inner_field = name if isinstance(name, str) else field
            if isinstance(inner, str):
                if inner_field not in self.words and inner_field not in exempt:
                    is_image = field == "image_url" and inner_field == "url"
                    self._check_text(inner, (path, name), "image_url" if is_image else inner_field, known=known)
            elif isinstance(inner, dict | list) and inner_field not in exempt:
                is_known = known and not _is_unknown_part(inner_field, inner)
                self.check(inner, (path, name), inner_field, depth + 1, known=is_known)

    def _exempt(self, value: dict[str, Any]) -> frozenset[str]:
        kind = _type(value)
        if kind in _FOUND:
            return self.opaque | {"url"}
        return self.opaque | {"data"} if kind == "text" else self.opaque  # `data` is the text of a plain-text document

    def _check_text(self, text: str, path: Path, field: str, *, known: bool) -> None:
        if field == "image_url":
            if not is_image(text):
                message = (
                    f"{_written(path)} must be a public https URL or a base64 data URL of a PNG, JPEG, GIF or WebP."
                )
                raise _refused(Reason.IMAGE, path, message)
        elif not ((field in _MEDIA and ":" in text) or looks_like_address(text)):
            return
        elif _DATA.match(text) is None and not is_public(text):
            raise _refused(
                Reason.ADDRESS,
                path,
                f"{_written(path)} is not a public https URL. Use a public https URL.",
            )
        if not known:
            message = f"{_written(path)} is a URL in a content part of an unknown type. Remove the content part."
            raise _refused(Reason.ADDRESS, path, message)
        self._addresses += not text.startswith("data:")
        if self._addresses > MAX_ADDRESSES:
            raise _refused(
                Reason.RANGE,
                path,
                f"The request has more than {MAX_ADDRESSES} URLs that a service would fetch. Send fewer URLs.",
            )


def _is_unknown_part(field: str, value: Any) -> bool:
    return field == "content" and isinstance(value, dict) and _type(value) not in _PARTS


def _type(value: dict[str, Any]) -> str:
    kind = value.get("type")
    return kind if isinstance(kind, str) else ""


def _check_references(value: Any, path: Path) -> None:
    """Refuse JSON schema references that do not begin with ``#``, because validators fetch such references."""
    try:
        text = msgspec.json.encode(value)
    except RecursionError as error:
        raise _refused(Reason.REQUEST, path, f"{_written(path)} is nested too deeply. Reduce the nesting.") from error
    if b'ef":"' not in text:  # most values have no references
        return
    left: list[tuple[Any, Path]] = [(value, path)]
    while left:
        inner, path = left.pop()
        if isinstance(inner, dict):
            for name in _REFERENCES:
                if isinstance(reference := inner.get(name), str) and not reference.startswith("#"):
                    message = (
                        f"{_written((path, name))} refers to another document. Use a reference that begins with '#'."
                    )
                    raise _refused(Reason.SCHEMA, (path, name), message)
            left += ((each, (path, name)) for name, each in inner.items())
        elif isinstance(inner, list):
            left += ((each, (path, index)) for index, each in enumerate(inner))


def _written(path: Path) -> str:
    """Write a path as ``messages[0].content``."""
    parts: list[str] = []
    while len(path) == 2:
        path, part = path
        parts.append(f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN]}")
    return path[0] + "".join(reversed(parts))


def _refused(reason: Reason, path: Path, message: str) -> BadUserInput:
    return BadUserInput(message, reason=reason, details={"param": _written(path)})
