"""Encodes answers as JSON."""

from __future__ import annotations

import json

import orjson


def json_bytes(value: object) -> bytes:
    """Encode a value as JSON. Lone surrogates in texts, which a model can produce, are escaped."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value).encode()
