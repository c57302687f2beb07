"""The model's tool calls, in the form of ``tools`` or of the older ``functions``.

A forced tool choice names a tool or is ``required``. As in OpenAI's API, the model then calls a tool at every request,
even if the tool already has a result.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import orjson

from app.embedded.litellm.answers import invalid
from app.embedded.model import Answer, instance_of, prompt_of
from app.embedded.state import Json

_PIECE = 12
"""The maximum length of a call's arguments in one chunk."""


def _new_call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


@dataclass(frozen=True)
class ToolCall:
    """A tool call. ``arguments`` is JSON."""

    name: str
    arguments: str
    id: str = field(default_factory=_new_call_id)

    @property
    def pieces(self) -> list[str]:
        """The arguments, split into the pieces that are streamed."""
        return [self.arguments[at : at + _PIECE] for at in range(0, len(self.arguments), _PIECE)]


@dataclass(frozen=True)
class Calls:
    """The tool calls of one answer. A ``legacy`` answer has one call, in the form ``function_call``."""

    calls: tuple[ToolCall, ...]
    legacy: bool

    @property
    def finish(self) -> str:
        """The answer's finish reason."""
        return "function_call" if self.legacy else "tool_calls"

    def message(self) -> Json:
        """Return the message fields that contain the tool calls."""
        if self.legacy:
            return {"function_call": {"arguments": self.calls[0].arguments, "name": self.calls[0].name}}
        return {"tool_calls": [_call_json(call, call.arguments) for call in self.calls]}

    def deltas(self) -> list[Json]:
        """Return the stream's deltas. Each call has a delta with its name, and then its arguments in pieces."""
        if self.legacy:
            [call] = self.calls
            pieces: list[Json] = [{"arguments": "", "name": call.name}, *({"arguments": one} for one in call.pieces)]
            return [{"function_call": piece} for piece in pieces]
        deltas = []
        for index, call in enumerate(self.calls):
            head = {**_call_json(call, ""), "index": index}
            tail = [{"function": {"arguments": one}, "type": "function", "index": index} for one in call.pieces]
            deltas += [{"tool_calls": [one]} for one in (head, *tail)]
        return deltas


def calls_of(body: Json, answer: Answer) -> Calls | None:
    """Return the tool calls that answer a request, or ``None`` if the answer is text.

    Unless the choice is forced, the model calls the tools that the user message names and that have no result yet. With
    ``parallel_tool_calls: false``, the model calls only the first of these tools.

    Raises:
        Refused: the choice names a tool that the request does not offer.
    """
    tools = _functions([one.get("function") for one in body.get("tools") or []])
    legacy = not tools and bool(body.get("functions"))
    offered = _functions(body["functions"]) if legacy else tools
    names = _chosen(body.get("function_call" if legacy else "tool_choice"), answer, list(offered))
    if legacy or body.get("parallel_tool_calls") is False:
        names = names[:1]
    if not names:
        return None
    text = answer.text if answer.text.startswith("tok0") else prompt_of(body["messages"])
    calls = tuple(ToolCall(name, _arguments(offered[name], text)) for name in names)
    return Calls(calls, legacy)


def _functions(values: list[object]) -> dict[str, Json]:
    return {one["name"]: one for one in values if isinstance(one, dict) and isinstance(one.get("name"), str)}


def _chosen(choice: object, answer: Answer, offered: list[str]) -> list[str]:
    if choice == "none" or not offered:
        return []
    if (named := _named(choice)) is not None:
        if named not in offered:
            raise invalid(f"litellm.BadRequestError: OpenAIException - Tool choice '{named}' not found in 'tools'.")
        return [named]
    requested = [name for name in answer.tools if name in offered]
    if requested or choice != "required":
        return requested
    return [next((name for name in offered if name not in answer.answered), offered[-1])]


def _named(choice: object) -> str | None:
    """Return the name of the function in a tool choice.

    The choice is ``{"type": "function", "function": {"name": …}}`` or the older ``{"name": …}``.
    """
    if not isinstance(choice, dict):
        return None
    function = choice.get("function", choice)
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _arguments(function: Json, text: str) -> str:
    value = instance_of(function.get("parameters"), text)
    return orjson.dumps(value if isinstance(value, dict) else {"query": value}).decode()


def _call_json(call: ToolCall, arguments: str) -> Json:
    return {"function": {"arguments": arguments, "name": call.name}, "id": call.id, "type": "function"}
