"""The dashboard: 50 agents with their memory and last 20 messages, by 8 clients."""

from __future__ import annotations

import re
from typing import Any

from bench.compare import expect
from bench.graph import OFF, ON, Operation, against
from bench.peers import HIVE, MERCURIUS_JIT, STRAWBERRY, YOGA, YOGA_JIT
from bench.support import Options, Table

QUERY = """
query Dash {
  viewer { id email agents(first: 50) { nodes {
    id name modelName version memoryBlocks { id label value limit }
    messages(last: 20) { nodes { id role text createdAt run { id } step { id } } }
  } } }
}
"""
CLIENTS = 8

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A message id of the gateway contains the agent's UUID and then the message's UUID."""


async def run(options: Options) -> Table:
    """Compare the dashboards."""
    operation = Operation({"query": QUERY}, "dashboard.json", CLIENTS, values, is_slow=True)
    wanted = [YOGA_JIT, MERCURIUS_JIT, YOGA, HIVE, STRAWBERRY]
    result, found = await against("Dashboard: 50 agents, 20 messages each, 8 clients", operation, wanted, options)
    expect(result, found, OFF, {YOGA_JIT.name: 2, HIVE.name: 10, STRAWBERRY.name: 60})
    expect(result, found, ON, {YOGA_JIT.name: 5})
    return result


def values(data: Any) -> object:
    """Return the values of a dashboard. The servers have different names for some fields."""
    viewer = data["viewer"]
    return [_raw(viewer["id"]), viewer["email"], [_agent(one) for one in _items(viewer["agents"])]]


def _agent(one: Any) -> object:
    detail = one.get("detail") or one
    memory = detail["memory"]["blocks"] if "memory" in detail else detail["memoryBlocks"]
    model = detail["modelName"] if "modelName" in detail else detail["model"].rpartition("/")[2]
    return [
        _raw(detail["id"]),
        detail["name"],
        one["version"],
        model,
        [[_raw(block["id"]), block["label"], block["value"], block["limit"]] for block in memory],
        [_message(message) for message in _items(one["messages"])],
    ]


def _message(one: Any) -> object:
    run = one["run"]["id"] if "run" in one else one.get("runId", one.get("run_id"))
    step = one["step"]["id"] if "step" in one else one.get("stepId", one.get("step_id"))
    text, at = one.get("text", one.get("content")), one.get("createdAt", one.get("date"))
    role = one.get("role", one.get("message_type"))
    return [
        _UUID.findall(one["id"])[-1],
        role.partition("_")[0].lower(),
        text,
        at.replace("+00:00", "Z"),
        _raw(run),
        _raw(step),
    ]


def _items(found: Any) -> Any:
    return found["nodes"] if isinstance(found, dict) else found


def _raw(global_id: str) -> str:
    """Return the id within a global id."""
    return global_id.partition(":")[2] or global_id
