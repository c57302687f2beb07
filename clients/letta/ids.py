"""The form of Letta's ids."""

from __future__ import annotations

import re

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID = re.compile(rf"(?:agent|conv|run|message|block|tool|passage|step)-{UUID}\Z")


def is_letta_id(value: str, kind: str) -> bool:
    """Whether a value has the form of a Letta id of a kind (``agent``, ``conv``, ``run``, …).

    Every id is checked by this before it is put into a path, so that it cannot change the path.
    """
    return value.startswith(f"{kind}-") and _ID.match(value) is not None
