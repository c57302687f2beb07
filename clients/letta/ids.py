"""Checks the format of Letta's ids."""

import re

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID = re.compile(rf"(?:agent|conv|run|message|block|tool|passage|step)-{UUID}\Z")


def is_letta_id(value: str, kind: str) -> bool:
    """Return whether a string is formatted like a Letta id.

    ``kind`` is the id's prefix, such as ``agent`` or ``run``. The gateway checks every id before it puts the id into a
    path.
    """
    return value.startswith(f"{kind}-") and _ID.match(value) is not None
