"""Decodes and changes the response objects of OpenAI's Responses API."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from clients.calls import Answer
from clients.decode import UNREADABLE
from clients.litellm.answers import ModelAnswer, passed_headers
from clients.litellm.checks import checked
from clients.litellm.chunks import is_error
from clients.litellm.fields import (
    Object,
    amount,
    as_json,
    as_list,
    as_object,
    clean,
    count,
    json_object,
    with_whole_pairs,
)
from clients.litellm.reasoning_items import complete_output
from clients.litellm.redaction import without_key
from clients.litellm.refusals import failure_in_stream, wire_error
from clients.usage import Usage


class ResponseLabels(msgspec.Struct, frozen=True):
    """What a client gets in place of LiteLLM's ids and missing fields.

    Attributes:
        seal: returns the client's id for LiteLLM's id of a response.
        previous: the id of the previous response that the client has sent, or ``None``.
        encrypted: whether each reasoning item has a text ``encrypted_content``, if only an empty one. Letta 0.16.8
            loses a response's whole text if a reasoning item has none.
    """

    seal: Callable[[str], str]
    previous: str | None = None
    encrypted: bool = False


class _Response(msgspec.Struct):
    id: str
    output: list[dict[str, msgspec.Raw]]
    status: Any = None


class _Id(msgspec.Struct):
    id: str


class _Items(msgspec.Struct):
    data: list[dict[str, msgspec.Raw]]


_RESPONSE = msgspec.json.Decoder(_Response)
_ID = msgspec.json.Decoder(_Id)
_ITEMS = msgspec.json.Decoder(_Items)
_TEXT = msgspec.json.Decoder(str)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL_COUNT = re.compile(rb'("\w+_tokens"\s*:\s*)null')
_NULL_DETAILS = re.compile(rb'("(in|out)put_tokens_details"\s*:\s*)null')
_DETAILS = {b"in": b'{"cached_tokens":0}', b"out": b'{"reasoning_tokens":0}'}
_NULL = b"null"
_NO_ANSWER = b'{"error":{"message":"The response has no answer.","code":"server_error"}}'
FAILED = ("failed", "cancelled")
"""The statuses of a response without an answer."""


def _whole(answer: Answer) -> Answer:
    answer = checked(_RESPONSE.decode)(answer)
    if answer.status < 400 and _RESPONSE.decode(with_whole_pairs(answer.body)).status in FAILED:
        return msgspec.structs.replace(answer, status=500, body=_NO_ANSWER)
    return answer


RESPONSE = _whole
"""Checks that a 2xx answer is a response, with a list ``output``. A failed response is an error."""


def _stored(answer: Answer) -> Answer:
    wire = as_object(json_object(answer.body))
    is_response = wire.get("object") == "response" and isinstance(wire.get("id"), str)
    return answer if is_response else checked(_ID.decode)(answer)


STORED = _stored
"""Checks that a 2xx answer is a response of any status, or confirms a deletion."""

ITEMS = checked(_ITEMS.decode)
"""Checks that a 2xx answer lists the input items of a response."""


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    """Decode the fields of a JSON object, without decoding their values. The result for other data is empty."""
    try:
        return _FIELDS.decode(body)
    except UNREADABLE:
        wire = as_object(json_object(body))
    return {clean(name): msgspec.Raw(as_json(value).encode()) for name, value in wire.items()}


def relabelled(response: bytes, labels: ResponseLabels, key: str) -> bytes:
    """Replace the ids in a response object, null token counts, and the LiteLLM key ``key``. Complete reasoning items.

    Strict clients fail on null counts, which Gemini models send. ``response`` has passed ``RESPONSE``, or is part of an
    event.
    """
    fields = fields_of(response)
    if (sent := _text(fields.get("id"))) is not None:
        fields["id"] = _encoded(labels.seal(sent))
    if "previous_response_id" in fields:  # the provider's own id, which clients cannot use
        fields["previous_response_id"] = msgspec.Raw(msgspec.json.encode(labels.previous))
    if "error" in fields and bytes(fields["error"]) != _NULL:
        fields["error"] = msgspec.Raw(msgspec.json.encode(_shown_error(fields["error"])))
    if "output" in fields:
        fields["output"] = complete_output(fields["output"], encrypted=labels.encrypted)
    usage = fields.get("usage")
    if usage is not None:
        fields["usage"] = msgspec.Raw(_with_counts(bytes(usage)))
    return without_key(msgspec.json.encode(fields), key)


def _shown_error(sent: msgspec.Raw) -> Object | None:
    """Return an error of a stored response without the provider's words, which clients must not get."""
    error = json_object(bytes(sent))
    if not is_error(error):
        return None
    wire = wire_error(error)
    code = "rate_limit_exceeded" if wire.status == 429 else "server_error"
    return {"code": code, "message": failure_in_stream(wire).message}


def _with_counts(usage: bytes) -> bytes:
    if _NULL not in usage or usage == _NULL:
        return usage
    return _NULL_DETAILS.sub(lambda found: found[1] + _DETAILS[found[2]], _NULL_COUNT.sub(rb"\g<1>0", usage))


def _text(value: msgspec.Raw | None) -> str | None:
    try:
        return _TEXT.decode(value) if value is not None else None
    except UNREADABLE:
        return None


def _encoded(text: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(text))


def response_usage(value: object) -> Usage | None:
    """Decode the ``usage`` field of a response. Returns ``None`` if no field can be read."""
    wire = as_object(value)
    usage = Usage(
        prompt_tokens=count(wire.get("input_tokens")),
        completion_tokens=count(wire.get("output_tokens")),
        total_tokens=count(wire.get("total_tokens")),
        cached_prompt_tokens=count(as_object(wire.get("input_tokens_details")).get("cached_tokens")),
        reasoning_tokens=count(as_object(wire.get("output_tokens_details")).get("reasoning_tokens")),
        cost_usd=amount(wire.get("cost")),
    )
    return None if usage == Usage() else usage


def response_answer(answer: Answer, key: str, labels: ResponseLabels) -> ModelAnswer:
    """Convert LiteLLM's HTTP response with a response object to a ``ModelAnswer``, without the key of the call."""
    return ModelAnswer(
        raw=relabelled(answer.body, labels, key),
        headers=passed_headers(answer.headers, key),
        usage=response_usage(as_object(json_object(answer.body)).get("usage")),
    )


def finish_of(response: Object) -> str:
    """Return a completed or incomplete response's finish reason, in the terms of chat completions."""
    if response.get("status") == "incomplete":
        reason = as_object(response.get("incomplete_details")).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if any(map(is_call, items_of(response))) else "stop"


def items_of(response: Object) -> list[Object]:
    """Return a response's output items. Values that are not objects are omitted."""
    return [item for item in as_list(response.get("output")) if isinstance(item, dict)]


def is_call(item: Object) -> bool:
    """Return whether an output item is a tool call that the client executes."""
    return item.get("type") in ("function_call", "custom_tool_call")
