"""What AMS says of its own health. Its status alone does not tell: it may answer 200 and say that it cannot work."""

from __future__ import annotations

from typing import Any

import msgspec

_PARTS = {"database": "its database", "proxy_service": "its proxy", "letta_api_key": "its key to Letta"}
"""The checks that the AMS contract names. Others are not shown: their names are AMS's own words."""


class _Health(msgspec.Struct):
    status: Any = "ok"
    checks: dict[str, Any] = {}


_HEALTH = msgspec.json.Decoder(_Health)


def what_is_wrong(body: bytes) -> str | None:
    """What AMS says is wrong, in a sentence for people; ``None`` where nothing is."""
    try:
        health = _HEALTH.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return "What it says of its health cannot be read."
    wrong = [name for name, told in health.checks.items() if told != "ok"]
    if health.status == "ok" and not wrong:
        return None
    parts = ", ".join(part for name, part in _PARTS.items() if name in wrong)
    return f"It says that it is not well: {parts}." if parts else "It says that it is not well."
