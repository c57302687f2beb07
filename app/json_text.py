"""Decodes JSON from clients, and explains errors in the JSON."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

import orjson

_BOM = "\N{BYTE ORDER MARK}"
_NO_NUMBER = re.compile(r"-?(?:NaN|Infinity)")

MAX_CONTAINERS = 50_000
"""Maximum number of objects and arrays in a JSON text. Containers take up to 30 times as much memory as their text."""


class TooManyContainers(ValueError):
    """Raised if a JSON text has more than ``MAX_CONTAINERS`` objects and arrays."""


class InvalidJson(ValueError):
    """Raised if a text is not valid JSON.

    The message describes the error and its position, and does not quote the text.
    """


def loads(data: bytes | str) -> Any:
    """Parse a JSON text. Raise InvalidJson or TooManyContainers if the gateway does not accept the text."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(_explained(data, error)) from error
    except RecursionError as error:
        raise InvalidJson("it is nested too deeply") from error
    if _opening(data) > MAX_CONTAINERS and _has_too_many(value):
        raise TooManyContainers(f"has more than {MAX_CONTAINERS:,} objects and arrays")
    return value


def _opening(data: bytes | str) -> int:
    if isinstance(data, bytes):
        return data.count(b"{") + data.count(b"[")
    return data.count("{") + data.count("[")


def values_in(data: bytes | str) -> int:
    """Estimate the number of values in a JSON text.

    The estimate counts all commas and opening brackets, even within strings.
    """
    return _opening(data) + (data.count(b",") if isinstance(data, bytes) else data.count(","))


def _has_too_many(value: Any) -> bool:
    found = [value]
    for one in found:  # ``found`` grows in the loop
        within = one.values() if isinstance(one, dict) else one
        found += [inner for inner in within if isinstance(inner, dict | list)]
        if len(found) > MAX_CONTAINERS:
            return True
    return False


def _explained(data: bytes | str, error: orjson.JSONDecodeError) -> str:
    if not data.strip():
        return "it is empty"
    if isinstance(data, str):
        return _located(data, error)
    encoding = json.detect_encoding(data)
    if not encoding.startswith("utf-8"):
        return f"it is encoded in {encoding[:6].upper()} ({_encoding_sign(data)}), and must be UTF-8"
    try:
        return _located(data.decode(), error)
    except UnicodeDecodeError as undecodable:
        return f"the byte at offset {undecodable.start} is not valid UTF-8"


def _encoding_sign(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        return "a byte order mark at offset 0"
    return f"a NUL byte at offset {data.index(0)}"


def _located(text: str, error: orjson.JSONDecodeError) -> str:
    """Describe the first error in a JSON text, with its line and its column in characters, both counted from 1."""
    problem, position = error.msg, error.pos
    if text[position : position + 1] == _BOM or text.startswith(_BOM):
        problem = "a byte order mark (BOM)"
    elif problem.endswith("surrogate in string"):
        problem = "an escape that is half of a surrogate pair"
    else:
        signed = position - 1 if text[max(0, position - 1) : position] == "-" else position
        if number := _NO_NUMBER.match(text, signed):
            problem, position = f"{number[0]}, which is not a JSON number,", signed
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"{problem} at line {line}, column {column}"
