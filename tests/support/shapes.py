"""Compare the shape of an answer with a recorded one: the same fields with the same types of values."""

from __future__ import annotations

from typing import Any

BY_NAME = {"models", "model_groups", "providers", "endpoints", "api_keys", "entities", "api_key_breakdown"}
"""Objects with arbitrary keys: one field of each is compared."""
VARIES = {"properties", "metadata", "litellm_params", "system_fingerprint", "provider_specific_fields", "examples"}
"""Fields with arbitrary contents."""


def differences(found: Any, recorded: Any, *, at: str = "$", null_is_left_out: bool = False) -> list[str]:
    """Return what a recorded answer has and this one lacks. Null fits any type; lists are compared by their first item.

    With ``null_is_left_out`` a field that is null in the recording may be missing.
    """
    if found is None or recorded is None:
        return []
    if kind(found) != kind(recorded):
        return [f"{at}: {kind(found)}, not {kind(recorded)}"]
    if isinstance(recorded, list):
        pairs = {"[]": (found[0], recorded[0])} if found and recorded else {}
    elif isinstance(recorded, dict) and at.rpartition(".")[2] in BY_NAME:
        pairs = {".*": (next(iter(found.values())), next(iter(recorded.values())))} if found and recorded else {}
    elif isinstance(recorded, dict):
        wanted = [name for name, value in recorded.items() if name not in VARIES]
        missing = [name for name in wanted if name not in found and not (null_is_left_out and recorded[name] is None)]
        if missing:
            return [f"{at}.{name}: missing" for name in missing]
        pairs = {f".{name}": (found[name], recorded[name]) for name in wanted if name in found}
    else:
        pairs = {}
    inner = [differences(*pair, at=at + step, null_is_left_out=null_is_left_out) for step, pair in pairs.items()]
    return [one for each in inner for one in each]


def kind(value: Any) -> str:
    """Return the type of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    names = {int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names[type(value)]
