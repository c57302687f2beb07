"""When the model calls a tool, what the tool gives back, and what a person's decision says."""

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
    """A call the model makes. ``approval`` is whether a person has to allow it."""

    name: str
    arguments: str
    call_id: str
    approval: bool

    def as_json(self) -> Json:
        """As it is kept."""
        return asdict(self)


def tool_wanted(state: State, agent: Agent, answer: Answer, asked: str) -> ToolUse | None:
    """The call the model makes: the first tool that the message names, or a refund where the agent can issue one."""
    tools = {state.tools[one]["name"]: state.tools[one] for one in agent.tool_ids if one in state.tools}
    name = next(iter(answer.tools), None)
    if name is None and answer.error is None and REFUND_TOOL in tools and _REFUND.search(asked):
        name = REFUND_TOOL
    if name is None:
        return None
    tool = tools.get(name)
    default = bool(tool and tool["default_requires_approval"])
    return ToolUse(
        name=name,
        arguments=_arguments(name, tool, asked),
        call_id="call_" + new_id("x").replace("-", "")[1:25],
        approval=answer.approve or agent.approvals.get(name, default),
    )


def _arguments(name: str, tool: Json | None, asked: str) -> str:
    if name == REFUND_TOOL:
        amount = _AMOUNT.search(asked)
        given = {"amount": float(amount[0]) if amount else 25.0, "reason": asked[:200]}
        return orjson.dumps(given).decode()
    if tool is None:
        return '{"query": "tok0"}'
    return orjson.dumps(instance_of(tool["json_schema"]["parameters"], "tok0")).decode()


def result_of(use: ToolUse) -> str:
    """What a tool gives back."""
    return _RESULTS.get(use.name, "nothing was found")


def denied(reason: str | None) -> str:
    """What the model is told instead of a result, as recorded."""
    return f"{_DENIED}{reason}"


def verdict(sent: Json) -> tuple[bool, str | None]:
    """Whether a call is allowed, and why not, from an approval message in its new or its older form."""
    given = next(iter(sent.get("approvals") or []), sent)
    return bool(given.get("approve")), given.get("reason")
