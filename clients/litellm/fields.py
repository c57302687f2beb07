"""Decodes the fields of models' answers. Invalid fields raise no error.

Providers send fields of unexpected types, such as a count as text. The user has paid for the answer, so such a field
must not fail the answer.
"""

import json
import re
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar

import msgspec

from clients.decode import UNREADABLE, Records, undecodable
from clients.errors import Service

MAX_COUNT = 2**31 - 1
"""The largest number that a GraphQL ``Int`` can carry (GraphQL specification, 3.5.1)."""
MAX_DOLLARS = 10**9
_MILLION = 1_000_000
_GRAIN = Decimal("1e-12")
_EXACT = Decimal(10) ** 15
"""The largest amount of dollars that is rounded. ``quantize`` would need too many digits for larger amounts."""
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
    """A list in the format of OpenAI's API. The list is an object whose field ``data`` has the items."""

    data: Records[T]


def json_object(data: bytes) -> Object | None:
    """Parse a JSON object. Returns ``None`` for any other data.

    The function accepts ``NaN``, ``Infinity``, numbers out of range, unpaired surrogates, a byte order mark, control
    characters in strings, and bytes that are not UTF-8.
    """
    try:
        value = msgspec.json.decode(data)
    except UNREADABLE:
        value = _tolerant(data)
    return value if isinstance(value, dict) else None


def with_whole_pairs(data: bytes) -> bytes:
    """Replace unpaired surrogates in JSON text with U+FFFD.

    msgspec refuses unpaired surrogates. A model's answer that ends in the middle of an emoji has an unpaired surrogate.
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
    """Convert a JSON object to a struct.

    A field that cannot be converted gets a default. Raises UpstreamError (``DECODE``) if a field without a default is
    missing or cannot be read.
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
    """Return ``value`` if it is a JSON object. Otherwise, return an empty object."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Convert ``value`` to a list. A JSON object becomes a list of one item.

    A list is unchanged, and any other value becomes an empty list.
    """
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) and value else []


def number(value: object) -> Decimal | None:
    """Convert a JSON value to a finite, non-negative number. Returns ``None`` if that is impossible."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        written = str(value).strip()
        found = Decimal(written) if len(written) <= _MAX_DIGITS else None
    except (InvalidOperation, ValueError):
        return None
    return found if found is not None and found.is_finite() and found >= 0 else None


def count(value: object) -> int | None:
    """Convert a JSON value to an integer from 0 to ``MAX_COUNT``. Returns ``None`` if that is impossible."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    found = number(value)
    if found is None or found > MAX_COUNT or found != found.to_integral_value():
        return None
    return int(found)


def amount(value: object) -> Decimal | None:
    """Convert a JSON value to US dollars. Returns ``None`` if the value is not an amount of at most ``MAX_DOLLARS``."""
    found = number(value)
    return None if found is None or found > MAX_DOLLARS else dollars(found)


def word(value: object) -> str | None:
    """Convert a non-empty string or an integer to a string. Returns ``None`` for any other value."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**63:
        return str(value)
    return clean(value) or None if isinstance(value, str) else None


def clean(text: str) -> str:
    """Replace unpaired surrogates in a text. UTF-8 cannot encode unpaired surrogates."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def as_json(value: object) -> str:
    """Encode a Python object as JSON. Returns an empty string if the object is nested too deeply."""
    try:
        return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except RecursionError:
        return ""


def joined_text(value: object, names: tuple[str, ...], depth: int = _MAX_NESTING) -> str:
    """Return the text that a string, list or object contains.

    An object's text is the first field in ``names`` that has text.
    """
    if isinstance(value, str):
        return clean(value)
    if depth == 0:
        return ""
    if isinstance(value, list):
        return "".join(joined_text(part, names, depth - 1) for part in value)
    if isinstance(value, dict):
        return next((found for name in names if (found := joined_text(value.get(name), names, depth - 1))), "")
    return ""


def dollars(value: Decimal) -> Decimal:
    """Round an amount of money to 1e-12 dollars.

    LiteLLM adds binary floats, so the amounts have rounding errors. Raises UpstreamError (``DECODE``) if the amount is
    not finite.
    """
    if not value.is_finite():
        raise undecodable(Service.LITELLM)
    return (value if abs(value) >= _EXACT else value.quantize(_GRAIN)).normalize()


def per_million(per_token: Decimal | None) -> Decimal | None:
    """Convert the price of one token to the price of a million tokens. Returns ``None`` if the price is not finite."""
    if per_token is None or not per_token.is_finite():
        return None
    return (per_token * _MILLION).normalize()
