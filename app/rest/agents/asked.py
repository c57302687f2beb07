"""Converts requests for chat completions and responses to messages to an agent (decision 0085).

The agent has the conversation's history and its own instructions, model and tools. Only the last user message is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.images import Image, image
from resolvers.message_parts import message_parts

_INSTRUCTIONS = frozenset({"system", "developer"})


def _is_given(value: Any) -> bool:
    return bool(value)


def _forces(choice: Any) -> bool:
    return choice not in {None, "none", "auto"} if isinstance(choice, str | None) else True


def _has_format(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") != "text"


Refused = dict[str, tuple[Callable[[Any], bool], str]]

CHAT: Refused = {
    "tools": (_is_given, "Letta executes the agent's own tools."),
    "functions": (_is_given, "Letta executes the agent's own tools."),
    "tool_choice": (_forces, "The agent chooses its tools."),
    "function_call": (_forces, "The agent chooses its tools."),
    "response_format": (_has_format, "An agent answers with text."),
    "n": (lambda value: value not in {None, 1}, "An agent has one answer."),
    "stop": (_is_given, "An agent's answer cannot be cut at a text."),
    "logprobs": (_is_given, "An agent's answer has no log probabilities."),
    "top_logprobs": (_is_given, "An agent's answer has no log probabilities."),
    "modalities": (lambda value: bool(value) and value != ["text"], "An agent answers with text."),
    "audio": (_is_given, "An agent answers with text."),
    "web_search_options": (_is_given, "The agent searches with its own tools."),
}
"""The parameters of a chat completion that would change the form of an answer: which values are refused, and why.

All other parameters, such as ``temperature``, only tune the model, and are ignored.
"""

RESPONSES: Refused = {
    "tools": CHAT["tools"],
    "tool_choice": CHAT["tool_choice"],
    "top_logprobs": CHAT["top_logprobs"],
    "text": (lambda value: _has_format((value or {}).get("format")), "An agent answers with text."),
}
"""The parameters of a request to create a response, as in ``CHAT``."""


def refuse_parameters(body: dict[str, Any], refused: Refused) -> None:
    """Raise BadUserInput if a request has a parameter that an agent cannot follow."""
    for name, (is_refused, why) in refused.items():
        if name in body and is_refused(body[name]):
            raise BadUserInput(
                f"`{name}` has no effect on an agent. {why} Omit `{name}`.",
                reason=Reason.REQUEST,
                details={"param": name},
            )


def last_message(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the content of the last user message of a chat completion in Letta's format.

    Messages with instructions are ignored, wherever they are.

    Raises BadUserInput if another message follows the user's message, or the content cannot be sent to an agent.
    """
    return _last_of(messages, [message["role"] for message in messages], "messages")


def input_message(given: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the content of the last user message in a response's input, as ``last_message`` does."""
    return message_parts([given]) if isinstance(given, str) else _last_of(given, [_kind(one) for one in given], "input")


def _kind(item: dict[str, Any]) -> str:
    """Return the role of a message in a response's input, or the type of any other item."""
    kind = item.get("type")
    return str(item.get("role") if kind is None or kind == "message" else kind)


def _last_of(messages: list[dict[str, Any]], kinds: list[str], name: str) -> list[dict[str, Any]]:
    """Return the content of the last message of the kind ``user``. ``name`` is the parameter that has the messages."""
    for index in range(len(messages) - 1, -1, -1):
        if kinds[index] == "user":
            return _content(messages[index].get("content"), f"{name}[{index}].content")
        if kinds[index] not in _INSTRUCTIONS:
            _refuse_last(kinds[index], f"{name}[{index}]", name)
    raise _bad(f"The request has no user message. Add a message with the role `user` to `{name}`.", name)


def _refuse_last(kind: str, param: str, name: str) -> NoReturn:
    is_tool = kind in {"tool", "function"} or kind.endswith(("call", "call_output"))
    why = "Letta executes an agent's tools" if is_tool else "An agent answers a user's message"
    raise _bad(f"The last message is of the kind `{kind}`. {why}. End `{name}` with a message of the user.", param)


def _content(content: Any, param: str) -> list[dict[str, Any]]:
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    return message_parts([_part(part, f"{param}[{index}]") for index, part in enumerate(parts)])


def _part(part: dict[str, Any], param: str) -> str | Image:
    """Convert one part of a message. The shape of the parts is already checked."""
    kind, source = part["type"], part.get("image_url")
    if kind in {"text", "input_text"}:
        return part.get("text") or ""
    if kind in {"image_url", "input_image"} and source:
        given = source if isinstance(source, dict) else {"url": source, "detail": part.get("detail")}
        return _image(given, param)
    raise _bad(f"`{param}` is a part of an unsupported type. Send only texts and images with a URL.", param)


def _image(given: dict[str, Any], param: str) -> Image:
    detail = given.get("detail")
    try:
        return image(given["url"], detail if isinstance(detail, str) else None)
    except BadUserInput as error:
        raise BadUserInput(error.message, reason=error.reason, details={"param": param}) from error


def _bad(message: str, param: str) -> BadUserInput:
    return BadUserInput(message, reason=Reason.REQUEST, details={"param": param})
