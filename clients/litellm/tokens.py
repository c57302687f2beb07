"""What one answer of a model has used: tokens, and their cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from clients.decode import UNREADABLE
from clients.litellm.fields import amount, as_object, count, with_whole_pairs
from clients.usage import Usage


def usage_of(value: object) -> Usage | None:
    """The ``usage`` of an answer or a chunk, field by field.

    Returns:
        ``None`` where it tells nothing that can be read.
    """
    if not isinstance(value, dict):
        return None
    usage = Usage(
        prompt_tokens=count(value.get("prompt_tokens")),
        completion_tokens=count(value.get("completion_tokens")),
        total_tokens=count(value.get("total_tokens")),
        cached_prompt_tokens=count(as_object(value.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=count(as_object(value.get("completion_tokens_details")).get("reasoning_tokens")),
        cost_usd=amount(value.get("cost")),
    )
    return None if usage == Usage() else usage


def updated(known: Usage | None, told: Usage | None) -> Usage | None:
    """Merge the usage of another chunk: the newer value of each field that has one."""
    if known is None or told is None:
        return told or known
    later = {name: getattr(told, name) for name in Usage.__struct_fields__ if getattr(told, name) is not None}
    return msgspec.structs.replace(known, **later)


class _Whole(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw(b"null")


_WHOLE = msgspec.json.Decoder(_Whole)
_NULL_COUNT = re.compile(rb'("\w+_tokens"\s*:\s*)null')


def whole_usage(body: bytes) -> Usage | None:
    """The usage that a whole answer tells of."""
    try:
        return usage_of(msgspec.json.decode(_WHOLE.decode(with_whole_pairs(body)).usage))
    except UNREADABLE:
        return None


def header_cost(headers: Mapping[str, str]) -> Decimal | None:
    """What a whole answer cost in US dollars, as LiteLLM's header says."""
    return amount(headers.get("x-litellm-response-cost"))


def with_counts(body: bytes) -> bytes:
    """The same JSON with null token counts in ``usage`` made 0, and every other byte as it was.

    Letta and strict clients break on a null count, which Gemini models give (LiteLLM contract). ``body`` is a whole
    answer or one SSE event; only the value of the top-level ``usage`` is looked at.
    """
    if _NULL_COUNT.search(body) is None:
        return body
    start = body.find(b"{")
    try:
        usage = bytes(_WHOLE.decode(body[start:].rstrip()).usage)
    except UNREADABLE:
        return body
    return body.replace(usage, _NULL_COUNT.sub(rb"\g<1>0", usage))
