"""Upgrades: the chain of migrations between two versions, and the changes to an Agent File."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from app.embedded.state import Json


class UpgradeError(Exception):
    """The upgrade is impossible. The message has the reason."""


def plan(migrations: Iterable[Json], start: str, target: str) -> list[Json]:
    """Return the chain of migrations between two versions.

    Raises UpgradeError if there is no chain, or if the migrations form a cycle.
    """
    by_start: dict[str, Json] = {}
    for migration in migrations:
        by_start.setdefault(migration["from"], migration)
    chain: list[Json] = []
    visited, at = {start}, start
    while at != target:
        step = by_start.get(at)
        if step is None:
            raise UpgradeError(f"No migrations lead from {start} to {target}")
        at = step["to"]
        if at in visited:
            raise UpgradeError(f"The migrations from {start} form a cycle at {at}")
        visited.add(at)
        chain.append({"from": step["from"], "to": at, "steps": step.get("steps") or []})
    return chain


def difference(chain: list[Json]) -> list[Json]:
    """Return the JSON Patch operations of a chain of migrations."""
    steps = [step for one in chain for step in one["steps"] if step["type"] == "json_patch"]
    return [{"op": op["op"], "path": op["path"], "value": op.get("value")} for step in steps for op in step["patch"]]


def warnings(chain: list[Json]) -> list[str]:
    """Return a warning for each script in a chain of migrations. An upgrade does not run scripts."""
    return [
        f"The script of {one['from']} to {one['to']} is not run here."
        for one in chain
        for step in one["steps"]
        if step["type"] == "script"
    ]


def patched(content: Json, operations: list[Json]) -> Json:
    """Copy a document, and apply JSON Patch operations to the copy. Raises UpgradeError.

    The operations are ``add``, ``replace`` and ``remove`` (RFC 6902).
    """
    result = copy.deepcopy(content)
    for operation in operations:
        try:
            _apply(result, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UpgradeError(f"The patch {operation['op']} {operation['path']} does not fit") from error
    return result


def _apply(document: Json, operation: Json) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    at: Any = document
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at[part]
    op, value = operation["op"], operation.get("value")
    key: Any = last
    if isinstance(at, list):
        key = len(at) if last == "-" else int(last)
    if op == "remove":
        del at[key]
    elif op == "add" and isinstance(at, list):
        at.insert(key, value)
    elif op == "replace" and isinstance(at, dict) and key not in at:
        raise KeyError(key)
    else:
        at[key] = value
