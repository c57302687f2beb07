"""Tool calls, their results, and the user's decisions about tool calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from app.embedded.model import Answer, instance_of, text_of
from app.embedded.state import Agent, Json, State, new_id

REFUND_TOOL = "issue_refund"
_REFUND = re.compile(r"\brefund", re.IGNORECASE)
_AMOUNT = re.compile(r"\d+(?:\.\d+)?")
_DENIED = "Error: request to call tool denied. User reason: "
_RESULTS = {REFUND_TOOL: "refund issued"}


@dataclass(frozen=True)
class ToolUse:
    """A tool call. ``approval`` says whether the turn ends at the call, for an approval or a client's result."""

    name: str
    arguments: str
    call_id: str
    approval: bool

    def as_json(self) -> Json:
        """Return the tool call as Letta stores it."""
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """A client's answer to a tool call for which a turn has ended.

    Attributes:
        approve: whether the call is approved. A call that the client has executed counts as approved.
        returned: the result, if the client has executed the call.
    """

    approve: bool
    reason: str | None = None
    returned: Json | None = None

    @property
    def executes(self) -> bool:
        """Whether Letta executes the call."""
        return self.approve and self.returned is None

    def approvals(self, call_id: str) -> list[Json]:
        """Return the decision as Letta stores it."""
        if self.returned is not None:
            return [{"type": "tool", "tool_call_id": call_id, **self.returned}]
        return [{"type": "approval", "tool_call_id": call_id, "approve": self.approve, "reason": self.reason}]

    def result(self, use: ToolUse) -> Json:
        """Return the result of the tool call. The text of a denial is Letta's."""
        if self.returned is not None:
            return self.returned
        return result_of(use) if self.approve else _result(f"{_DENIED}{self.reason}", "error")


def client_tools_of(body: Json) -> dict[str, Json]:
    """Return the schemas of the parameters of the tools that the client executes, by the tools' names."""
    return {tool["name"]: tool.get("parameters") or {} for tool in body.get("client_tools") or []}


def tool_use(
    state: State, agent: Agent, answer: Answer, prompt: str, client_tools: Mapping[str, Json]
) -> ToolUse | None:
    """Return the model's tool call.

    The model calls the first tool that the message names, or the agent's refund tool. As in Letta, a client's tool
    replaces an agent's tool of the same name.
    """
    tools = {state.tools[one]["name"]: state.tools[one] for one in agent.tool_ids if one in state.tools}
    name = next(iter(answer.tools), None)
    if name is None and answer.error is None and REFUND_TOOL in tools and _REFUND.search(prompt):
        name = REFUND_TOOL
    if name is None:
        return None
    tool = tools.get(name)
    default = bool(tool and tool["default_requires_approval"])
    parameters = client_tools.get(name, tool and tool["json_schema"]["parameters"])
    return ToolUse(
        name=name,
        arguments=_arguments(name, parameters, prompt),
        call_id="call_" + new_id("x").replace("-", "")[1:25],
        approval=name in client_tools or answer.approve or agent.approvals.get(name, default),
    )


def _arguments(name: str, parameters: Json | None, prompt: str) -> str:
    if name == REFUND_TOOL:
        amount = _AMOUNT.search(prompt)
        arguments = {"amount": float(amount[0]) if amount else 25.0, "reason": prompt[:200]}
        return orjson.dumps(arguments).decode()
    if parameters is None:
        return '{"query": "tok0"}'
    return orjson.dumps(instance_of(parameters, "tok0")).decode()


def result_of(use: ToolUse) -> Json:
    """Return the result of a tool call that Letta executes."""
    return _result(_RESULTS.get(use.name, "nothing was found"), "success")


def _result(text: str, status: str) -> Json:
    return {"tool_return": text, "status": status, "stdout": None, "stderr": None}


def decision_of(sent: Json) -> Decision:
    """Return the decision in an approval message.

    The message can have the new or the older form, or the result of a tool call that the client has executed.
    """
    decision = next(iter(sent.get("approvals") or []), sent)
    if decision.get("type") != "tool":
        return Decision(bool(decision.get("approve")), decision.get("reason"))
    text = text_of({"content": decision.get("tool_return")})
    output = {name: decision.get(name) for name in ("stdout", "stderr")}
    return Decision(approve=True, returned={"tool_return": text, "status": decision.get("status"), **output})


def as_approval(sent: Json) -> Json:
    """Return a message that has only tool results as the approval message that Letta makes of it."""
    if sent.get("type") != "tool_return":
        return sent
    return {"type": "approval", "approvals": [{**one, "type": "tool"} for one in sent.get("tool_returns") or []]}
