"""Which tools the model calls, and how calls are written: as ``tools``, or as the older ``functions``.

A tool choice means what it means at OpenAI: a named one is called at every request, ``required`` is a call at every
request. A loop that keeps either after the results never ends, here or there.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import orjson

from app.embedded.litellm.answers import invalid
from app.embedded.model import Answer, instance_of, words_of
from app.embedded.state import Json

_PIECE = 12
"""How many characters of a call's arguments come in one chunk."""


def _new_call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


@dataclass(frozen=True)
class ToolCall:
    """One call. ``arguments`` is JSON."""

    name: str
    arguments: str
    id: str = field(default_factory=_new_call_id)

    @property
    def pieces(self) -> list[str]:
        """The arguments as they are streamed."""
        return [self.arguments[at : at + _PIECE] for at in range(0, len(self.arguments), _PIECE)]


@dataclass(frozen=True)
class Calls:
    """The calls of one answer. ``legacy`` ones are written as ``function_call``; there is only one of these."""

    calls: tuple[ToolCall, ...]
    legacy: bool

    @property
    def finish(self) -> str:
        """The answer's finish reason."""
        return "function_call" if self.legacy else "tool_calls"

    def message(self) -> Json:
        """The calls in a whole message."""
        if self.legacy:
            return {"function_call": {"arguments": self.calls[0].arguments, "name": self.calls[0].name}}
        return {"tool_calls": [_written(call, call.arguments) for call in self.calls]}

    def deltas(self) -> list[Json]:
        """The calls in a stream: of each its name, then its arguments piece by piece."""
        if self.legacy:
            [call] = self.calls
            pieces: list[Json] = [{"arguments": "", "name": call.name}, *({"arguments": one} for one in call.pieces)]
            return [{"function_call": piece} for piece in pieces]
        deltas = []
        for index, call in enumerate(self.calls):
            head = {**_written(call, ""), "index": index}
            tail = [{"function": {"arguments": one}, "type": "function", "index": index} for one in call.pieces]
            deltas += [{"tool_calls": [one]} for one in (head, *tail)]
        return deltas


def calls_wanted(body: Json, answer: Answer) -> Calls | None:
    """The calls that a request is answered with.

    Without a forced choice these are the tools that the user message names and that have no result yet; with
    ``parallel_tool_calls: false`` the first of them.

    Returns:
        ``None`` where the answer is text.

    Raises:
        Refused: The choice names a tool that is not offered.
    """
    tools = _functions([one.get("function") for one in body.get("tools") or []])
    legacy = not tools and bool(body.get("functions"))
    offered = _functions(body["functions"]) if legacy else tools
    names = _chosen(body.get("function_call" if legacy else "tool_choice"), answer, list(offered))
    if legacy or body.get("parallel_tool_calls") is False:
        names = names[:1]
    if not names:
        return None
    text = answer.text if answer.text.startswith("tok0") else words_of(body["messages"])
    calls = tuple(ToolCall(name, _arguments(offered[name], text)) for name in names)
    return Calls(calls, legacy)


def _functions(given: list[object]) -> dict[str, Json]:
    return {one["name"]: one for one in given if isinstance(one, dict) and isinstance(one.get("name"), str)}


def _chosen(choice: object, answer: Answer, offered: list[str]) -> list[str]:
    if choice == "none" or not offered:
        return []
    if (named := _named(choice)) is not None:
        if named not in offered:
            raise invalid(f"litellm.BadRequestError: OpenAIException - Tool choice '{named}' not found in 'tools'.")
        return [named]
    asked = [name for name in answer.tools if name in offered]
    if asked or choice != "required":
        return asked
    return [next((name for name in offered if name not in answer.answered), offered[-1])]


def _named(choice: object) -> str | None:
    """The name in ``{"type": "function", "function": {"name": …}}`` or in the older ``{"name": …}``."""
    if not isinstance(choice, dict):
        return None
    function = choice.get("function", choice)
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _arguments(function: Json, text: str) -> str:
    given = instance_of(function.get("parameters"), text)
    return orjson.dumps(given if isinstance(given, dict) else {"query": given}).decode()


def _written(call: ToolCall, arguments: str) -> Json:
    return {"function": {"arguments": arguments, "name": call.name}, "id": call.id, "type": "function"}
