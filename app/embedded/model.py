"""A deterministic model that streams words at a human pace.

Directives in the last user message control the model, for tests and demonstrations:
``[[tokens=5 delay=0.01 first=0 error=429|400|500|503|ctx|hang|cut|errdone reasoning=1 tool=NAME,NAME approve=1]]``.
With ``tokens``, the answer is ``tok0 tok1 …``. With ``tool``, the model calls each named tool once per user message,
and then answers with the tools' results. With ``approve``, the call needs an approval. The model ignores invalid
numbers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from app.embedded.state import Json, ModelStats

_DIRECTIVE = re.compile(r"\[\[(.*?)\]\]")
_WORDS = re.compile(r"\S+\s*")
_CHOICES = ("anyOf", "oneOf", "allOf")
_MAX_TOKENS = 200_000
_MAX_SECONDS = 86_400.0
_MIDWAY = frozenset({"cut", "errdone"})
"""The errors that end a stream midway: a lost connection, and a rate limit."""
_MAX_DEPTH = 8
"""The maximum depth to which a recursive schema is followed."""
_SHOWN = 200
"""The maximum length of a tool's result in an answer."""
_OPENINGS = (
    "Good question.",
    "Let me think that through with you.",
    "Here is how I see it.",
    "Happy to help.",
)
_CLOSINGS = (
    "Tell me where you would like to go deeper.",
    "Shall I take the next step?",
    "That should get you started.",
)


class ModelFailure(Exception):
    """The error for a failed model. ``kind`` is a value of the ``error`` directive."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Answer:
    """The model's answer and its pace.

    Attributes:
        tools: the tools that the user message requests and that have no result yet.
        answered: the tools that have a result since the last user message.
    """

    reasoning: str
    text: str
    first: float
    delay: float
    error: str | None
    prompt_tokens: int
    approve: bool = False
    tools: tuple[str, ...] = ()
    answered: frozenset[str] = frozenset()

    @property
    def words(self) -> list[str]:
        """The words of ``text``."""
        return _WORDS.findall(self.text)

    @property
    def fails_at_once(self) -> bool:
        """Whether the model fails before the first word, or never answers."""
        return self.error is not None and self.error not in _MIDWAY

    def after(self, tool: str, *, approve: bool) -> Answer:
        """Return the answer that follows a decision about a tool call.

        An answer that the directive ``tokens`` defines is not changed.
        """
        if self.text.startswith("tok0"):
            return self
        opening = (
            f"Thank you. I have called {tool}, and it is done." if approve else f"All right, I leave {tool} alone."
        )
        return replace(self, text=f"{opening} {self.text.split('. ', 1)[-1]}", error=None)


def counted(text: str) -> int:
    """Count a text's tokens. Each word is a token."""
    return len(_WORDS.findall(text))


def text_of(message: Json) -> str:
    """Return the text of an OpenAI message."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


@dataclass(frozen=True)
class ToolResult:
    """A tool's result. ``name`` is empty if no call in the conversation has the result's id."""

    name: str
    text: str


def answer_to(messages: list[Json], *, words_per_second: float) -> Answer:
    """Return the model's answer to a conversation. Equal conversations have equal answers."""
    prompt, results = prompt_of(messages), results_of(messages)
    directives, tools = _directives(prompt)
    if (tokens := _number(directives.get("tokens"), _MAX_TOKENS)) is not None:
        text = "tok" + " tok".join(str(n) for n in range(int(tokens)))
    else:
        text = _answer_from(results) if results else _reply(prompt)
    return Answer(
        reasoning="They want something; I will be brief and concrete." if directives.get("reasoning") else "",
        text=text,
        first=_number(directives.get("first"), _MAX_SECONDS) or 0.0,
        delay=1 / words_per_second if (delay := _number(directives.get("delay"), _MAX_SECONDS)) is None else delay,
        error=directives.get("error"),
        prompt_tokens=max(1, sum(len(text_of(message)) for message in messages) // 4),
        approve=directives.get("approve", "0") != "0",
        tools=_without_result(tools, results),
        answered=frozenset(result.name for result in results),
    )


def _number(text: str | None, most: float) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return min(number, most) if number >= 0 else None


def _directives(prompt: str) -> tuple[dict[str, str], list[str]]:
    """Return a message's directives, and the tools that the directives name, in order."""
    values: dict[str, str] = {}
    tools: list[str] = []
    for directive in _DIRECTIVE.findall(prompt):
        for part in directive.split():
            name, _, value = part.partition("=")
            values[name] = value
            if name in {"tool", "tools"}:
                tools += [tool for tool in value.split(",") if tool]
    return values, tools


def results_of(messages: list[Json]) -> list[ToolResult]:
    """Return the tool results since the last user message, in order."""
    since = next((at for at in range(len(messages), 0, -1) if messages[at - 1].get("role") == "user"), 0)
    names: dict[object, str] = {}
    results = []
    for message in messages[since:]:
        for call in _list(message.get("tool_calls")):
            if isinstance(call, dict) and isinstance(call.get("id"), str) and isinstance(call.get("function"), dict):
                names[call["id"]] = str(call["function"].get("name") or "")
        if message.get("role") == "tool":
            name = str(message.get("name") or "")
            call_id = message.get("tool_call_id")
            results.append(ToolResult(names.get(call_id, name) if isinstance(call_id, str) else name, text_of(message)))
        elif message.get("role") == "function":
            results.append(ToolResult(str(message.get("name") or ""), text_of(message)))
    return results


def _without_result(tools: list[str], results: list[ToolResult]) -> tuple[str, ...]:
    """Return the tools that have no result. A result without a name counts as the first tool's result."""
    remaining = list(tools)
    for result in results:
        if result.name in remaining:
            remaining.remove(result.name)
        elif not result.name:
            del remaining[:1]
    return tuple(remaining)


def prompt_of(messages: list[Json]) -> str:
    """Return the text of the last user message."""
    return next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")


def instance_of(schema: Any, text: str) -> Any:
    """Return an instance of a JSON schema. The instance's strings are ``text``."""
    return _instance(schema, text, schema, 0)


def _instance(schema: Any, text: str, root: Any, depth: int) -> Any:
    schema = _resolved(schema, root, depth)
    if not isinstance(schema, dict):
        return text
    if "const" in schema:
        return schema["const"]
    if _list(schema.get("enum")):
        return schema["enum"][0]
    kinds = schema.get("type")
    match kinds[0] if isinstance(kinds, list) and kinds else kinds:
        case "object":
            fields = schema.get("properties")
            properties = fields if isinstance(fields, dict) else {}
            names = [name for name in _list(schema.get("required")) if isinstance(name, str)] or list(properties)
            return {name: _instance(properties.get(name), text, root, depth + 1) for name in names}
        case "array":
            return [] if depth >= _MAX_DEPTH else [_instance(schema.get("items"), text, root, depth + 1)]
        case "integer" | "number" as kind:
            least = schema.get("minimum")
            return least if isinstance(least, int) else 1 if kind == "integer" else 1.0
        case "boolean":
            return True
        case "null":
            return None
    return text


def _resolved(schema: Any, root: Any, depth: int) -> Any:
    """Replace ``$ref`` by its target, and ``anyOf`` by its first schema.

    At the maximum depth, replace ``anyOf`` by its last schema.
    """
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, dict):
            break
        if isinstance(reference := schema.get("$ref"), str):
            schema = _referred(reference, root)
        elif choices := next((found for name in _CHOICES if (found := _list(schema.get(name)))), None):
            schema = choices[0 if depth < _MAX_DEPTH else -1]
        else:
            break
    return schema


def _referred(reference: str, root: Any) -> Any:
    for name in reference.removeprefix("#").split("/")[1:]:
        root = root.get(name) if isinstance(root, dict) else None
    return root


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _answer_from(results: list[ToolResult]) -> str:
    sentences = []
    for result in results:
        text = re.sub(r"\s+", " ", result.text).strip()
        excerpt = f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text or "nothing"
        sentences.append(f"{f'The tool {result.name}' if result.name else 'The tool'} answered {excerpt.rstrip('.')}.")
    return " ".join(sentences)


def _reply(prompt: str) -> str:
    seed = sum(prompt.encode())
    subject = re.sub(r"\s+", " ", prompt).strip(" ?!.")[:80] or "that"
    return (
        f"{_OPENINGS[seed % len(_OPENINGS)]} You asked about “{subject}”. First, settle what a good result looks like. "
        "Then take the smallest step that shows whether you are right, look at what comes back, and go on from there. "
        f"{_CLOSINGS[seed % len(_CLOSINGS)]}"
    )


async def generate(answer: Answer, stats: ModelStats) -> AsyncIterator[str]:
    """Yield an answer's words at the answer's pace. Raises ModelFailure for a failing model.

    The error comes before the first word. For the kinds ``cut`` and ``errdone``, the error comes midway.
    """
    stats.total += 1
    stats.inflight += 1
    ended = False
    try:
        if answer.error == "hang":
            await asyncio.Event().wait()
        if answer.fails_at_once:
            ended = True
            raise ModelFailure(answer.error or "500")
        await asyncio.sleep(answer.first)
        words = answer.words
        for index, word in enumerate(words):
            if answer.error is not None and index == max(1, len(words) // 2):
                ended = True
                raise ModelFailure(answer.error)
            yield word
            await asyncio.sleep(answer.delay)
        ended = True
    finally:
        stats.inflight -= 1
        stats.disconnected += not ended
