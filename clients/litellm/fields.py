"""Decodes single fields of a model's answer. A value that cannot be read is unknown, and not an error.

Providers send fields of different types (a count as text, a cost as an object), and LiteLLM passes many of them on. The
user has paid for the answer, so one field must not fail it.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar

import msgspec

from clients.decode import UNREADABLE, Records, undecodable
from clients.errors import Service
from clients.litellm.money import dollars

MAX_COUNT = 2**31 - 1
"""The largest count that a GraphQL ``Int`` can carry (GraphQL specification, 3.5.1)."""
MAX_DOLLARS = 10**9
_MAX_DIGITS = 40
_MAX_NESTING = 4
_HALF_BYTES = len(rb"\ud83d")
_ESCAPED_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)

Object = dict[str, Any]
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


class Listed(msgspec.Struct, Generic[T]):
    """A list in OpenAI's form, which LiteLLM's own lists have too."""

    data: Records[T]


def json_object(data: bytes) -> Object | None:
    """Parse a JSON object leniently; ``None`` for anything else.

    ``NaN``, ``Infinity``, numbers out of range, half a surrogate pair, a byte order mark, control characters in strings
    and bytes that are not UTF-8 are accepted.
    """
    try:
        value = msgspec.json.decode(data)
    except UNREADABLE:
        value = _tolerant(data)
    return value if isinstance(value, dict) else None


def with_whole_pairs(data: bytes) -> bytes:
    """Replace unpaired surrogates in JSON with U+FFFD.

    They are valid JSON, which msgspec does not read. A model's answer can end in the middle of an emoji.
    """
    return _ESCAPED_PAIR.sub(lambda found: found[0] if len(found[0]) > _HALF_BYTES else rb"\ufffd", data)


def _tolerant(data: bytes) -> object:
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        return json.loads(text, strict=False, parse_int=_parsed_integer)
    except (ValueError, RecursionError):
        return None


def _parsed_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def tolerant(kind: type[S], wire: Object) -> S:
    """Convert an object to a struct. A field whose value cannot be read has its default.

    Raises UpstreamError (``DECODE``) if a field without a default is missing or cannot be read.
    """
    kept: Object = {}
    for field in msgspec.structs.fields(kind):
        with suppress(msgspec.ValidationError, KeyError):
            kept[field.encode_name] = msgspec.convert(wire[field.encode_name], field.type, strict=False)
    try:
        return msgspec.convert(kept, kind, strict=False)
    except msgspec.ValidationError as error:
        raise undecodable(Service.LITELLM) from error


def as_object(value: object) -> Object:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """The value if it is a list, a list of it if it is an object, else an empty list."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) and value else []


def number(value: object) -> Decimal | None:
    """A finite number that is not negative, from a number or text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        written = str(value).strip()
        found = Decimal(written) if len(written) <= _MAX_DIGITS else None
    except (InvalidOperation, ValueError):
        return None
    return found if found is not None and found.is_finite() and found >= 0 else None


def count(value: object) -> int | None:
    """A whole number from 0 to ``MAX_COUNT``."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    found = number(value)
    if found is None or found > MAX_COUNT or found != found.to_integral_value():
        return None
    return int(found)


def amount(value: object) -> Decimal | None:
    """An amount of US dollars, at most ``MAX_DOLLARS``."""
    found = number(value)
    return None if found is None or found > MAX_DOLLARS else dollars(found)


def word(value: object) -> str | None:
    """An id, a name or a code, from text or a whole number; ``None`` for an empty text."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**63:
        return str(value)
    return clean(value) or None if isinstance(value, str) else None


def clean(text: str) -> str:
    """The text without unpaired surrogates, which cannot be encoded."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def as_json(value: object) -> str:
    """A value as JSON text; empty if it is nested too deeply."""
    try:
        return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except RecursionError:
        return ""


def joined_text(value: object, names: tuple[str, ...], depth: int = _MAX_NESTING) -> str:
    """The text in a value: itself, of a list's parts, or of the first field in ``names`` with text."""
    if isinstance(value, str):
        return clean(value)
    if depth == 0:
        return ""
    if isinstance(value, list):
        return "".join(joined_text(part, names, depth - 1) for part in value)
    if isinstance(value, dict):
        return next((found for name in names if (found := joined_text(value.get(name), names, depth - 1))), "")
    return ""
