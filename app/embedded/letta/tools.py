"""Tool calls, their results, and the user's decisions about tool calls."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

import orjson

from app.embedded.model import Answer, instance_of
from app.embedded.state import Agent, Json, State, new_id

REFUND_TOOL = "issue_refund"
_REFUND = re.compile(r"\brefund", re.IGNORECASE)
_AMOUNT = re.compile(r"\d+(?:\.\d+)?")
_DENIED = "Error: request to call tool denied. User reason: "
_RESULTS = {REFUND_TOOL: "refund issued"}


@dataclass(frozen=True)
class ToolUse:
    """A tool call. ``approval`` says whether the call needs an approval."""

    name: str
    arguments: str
    call_id: str
    approval: bool

    def as_json(self) -> Json:
        """Return the tool call as Letta stores it."""
        return asdict(self)


def tool_use(state: State, agent: Agent, answer: Answer, prompt: str) -> ToolUse | None:
    """Return the model's tool call.

    The model calls the first tool that the message names, or the agent's refund tool.
    """
    tools = {state.tools[one]["name"]: state.tools[one] for one in agent.tool_ids if one in state.tools}
    name = next(iter(answer.tools), None)
    if name is None and answer.error is None and REFUND_TOOL in tools and _REFUND.search(prompt):
        name = REFUND_TOOL
    if name is None:
        return None
    tool = tools.get(name)
    default = bool(tool and tool["default_requires_approval"])
    return ToolUse(
        name=name,
        arguments=_arguments(name, tool, prompt),
        call_id="call_" + new_id("x").replace("-", "")[1:25],
        approval=answer.approve or agent.approvals.get(name, default),
    )


def _arguments(name: str, tool: Json | None, prompt: str) -> str:
    if name == REFUND_TOOL:
        amount = _AMOUNT.search(prompt)
        arguments = {"amount": float(amount[0]) if amount else 25.0, "reason": prompt[:200]}
        return orjson.dumps(arguments).decode()
    if tool is None:
        return '{"query": "tok0"}'
    return orjson.dumps(instance_of(tool["json_schema"]["parameters"], "tok0")).decode()


def result_of(use: ToolUse) -> str:
    """Return the result of a tool call."""
    return _RESULTS.get(use.name, "nothing was found")


def denied(reason: str | None) -> str:
    """Return the result of a tool call that the user denied. The texts are Letta's."""
    return f"{_DENIED}{reason}"


def decision_of(sent: Json) -> tuple[bool, str | None]:
    """Return whether an approval message allows the tool call, and the user's reason.

    The message can have the new or the older form.
    """
    decision = next(iter(sent.get("approvals") or []), sent)
    return bool(decision.get("approve")), decision.get("reason")
