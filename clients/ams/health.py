"""AMS's report of its own health. It can answer 200 and report that it does not work."""

from __future__ import annotations

from typing import Any

import msgspec

from clients.decode import UNREADABLE

_PARTS = {"database": "its database", "proxy_service": "its proxy", "letta_api_key": "its key to Letta"}
"""The checks in the AMS contract. Others count by ``status`` alone."""


class _Health(msgspec.Struct):
    status: Any
    checks: dict[str, Any] = {}


_HEALTH = msgspec.json.Decoder(_Health)


def what_is_wrong(body: bytes) -> str | None:
    """A sentence for operators on what AMS reports as wrong; ``None`` if nothing is."""
    try:
        health = _HEALTH.decode(body)
    except UNREADABLE:
        return "Its report of its health cannot be read."
    wrong = ", ".join(part for name, part in _PARTS.items() if health.checks.get(name, "ok") != "ok")
    if wrong:
        return f"It reports that it is not well: {wrong}."
    return None if health.status == "ok" else "It reports that it is not well."
