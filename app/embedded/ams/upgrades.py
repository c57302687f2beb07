"""Upgrades: the chain of migrations from one version to another, and a file as it is after them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from app.embedded.state import Json


class NoWay(Exception):
    """An upgrade is impossible; the text says why."""


def plan(migrations: Iterable[Json], start: str, target: str) -> list[Json]:
    """The chain of migrations from a version to another. Raises NoWay where there is none, or it runs in a circle."""
    ways: dict[str, Json] = {}
    for migration in migrations:
        ways.setdefault(migration["from"], migration)
    chain: list[Json] = []
    seen, at = {start}, start
    while at != target:
        step = ways.get(at)
        if step is None:
            raise NoWay(f"No migrations lead from {start} to {target}")
        at = step["to"]
        if at in seen:
            raise NoWay(f"The migrations from {start} run in a circle at {at}")
        seen.add(at)
        chain.append({"from": step["from"], "to": at, "steps": step.get("steps") or []})
    return chain


def difference(chain: list[Json]) -> list[Json]:
    """What the chain changes in the Agent File, operation by operation."""
    steps = [step for one in chain for step in one["steps"] if step["type"] == "json_patch"]
    return [{"op": op["op"], "path": op["path"], "value": op.get("value")} for step in steps for op in step["patch"]]


def warnings(chain: list[Json]) -> list[str]:
    """What an upgrade does not do."""
    return [
        f"The script of {one['from']} to {one['to']} is not run here."
        for one in chain
        for step in one["steps"]
        if step["type"] == "script"
    ]


def patched(content: Json, operations: list[Json]) -> Json:
    """A file after JSON Patch operations (RFC 6902: add, replace, remove). Raises NoWay where one does not fit."""
    result = copy.deepcopy(content)
    for operation in operations:
        try:
            _apply(result, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise NoWay(f"The patch {operation['op']} {operation['path']} does not fit") from error
    return result


def _apply(document: Json, operation: Json) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    at: Any = document
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at[part]
    op, value = operation["op"], operation.get("value")
    place: Any = last
    if isinstance(at, list):
        place = len(at) if last == "-" else int(last)
    if op == "remove":
        del at[place]
    elif op == "add" and isinstance(at, list):
        at.insert(place, value)
    elif op == "replace" and isinstance(at, dict) and place not in at:
        raise KeyError(place)
    else:
        at[place] = value
