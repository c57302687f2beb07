"""Checks the input of completion requests before the gateway sends the requests to LiteLLM."""

import re
from typing import Any

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.vetting import Vetted, vet_chat

MAX_TOOLS = 128
MAX_STOPS = 16
MAX_MESSAGES = 2000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHOICES = ("none", "auto", "required")
_FORMATS = ("text", "json_object", "json_schema")
_RANGES = {"temperature": ("temperature", 2), "top_p": ("topP", 1)}
"""Numeric fields of a request, with their GraphQL names and maximum values. The minimum is 0."""


def checked(body: dict[str, Any]) -> Vetted:
    """Check a completion request in OpenAI's format, and return the request unchanged. Raises BadUserInput."""
    if not body["model"].strip():
        raise _wrong(Reason.MODEL, "`model` is blank. Set the name of a model from `models`.")
    if not body["messages"]:
        raise _wrong(Reason.EMPTY, "`messages` is empty. Send at least one message.")
    if len(body["messages"]) > MAX_MESSAGES:
        raise _wrong(Reason.RANGE, f"`messages` has more than {MAX_MESSAGES:,} messages. Send fewer messages.")
    for index, message in enumerate(body["messages"]):
        _check_message(index, message)
    for name, (shown, most) in _RANGES.items():
        value = body.get(name)
        if value is not None and not 0 <= value <= most:
            raise _wrong(Reason.RANGE, f"`{shown}` is {value}: values from 0 to {most} are allowed.")
    if (limit := body.get("max_tokens")) is not None and limit < 1:
        raise _wrong(Reason.RANGE, f"`maxTokens` is {limit}: it must be at least 1.")
    stops = body.get("stop")
    if stops is not None and (not 1 <= len(stops) <= MAX_STOPS or not all(stops)):
        raise _wrong(Reason.STOP, f"`stop` must have 1 to {MAX_STOPS} strings, and no string may be empty.")
    names = _tool_names(body.get("tools"))
    _check_choice(body.get("tool_choice"), names)
    _check_format(body.get("response_format"))
    return vet_chat(body)


def _check_message(index: int, message: dict[str, Any]) -> None:
    calls, role = message.get("tool_calls"), message["role"]
    where = f"messages[{index}]"
    if role == "tool" and not message.get("tool_call_id"):
        raise _wrong(
            Reason.MESSAGE,
            f"{where} is a TOOL message without `toolCallId`. Set `toolCallId` to the id of the tool call.",
        )
    if calls is not None:
        if role != "assistant":
            raise _wrong(
                Reason.MESSAGE, f"{where} has `toolCalls`, which only ASSISTANT messages can have. Remove `toolCalls`."
            )
        if not calls:
            raise _wrong(Reason.MESSAGE, f"{where} has an empty list `toolCalls`. Remove `toolCalls`.")
    elif message["content"] is None:
        raise _wrong(Reason.MESSAGE, f"{where} is empty. Set `content` or `parts`.")


def _tool_names(tools: list[Any] | None) -> set[str]:
    if tools is None:
        return set()
    if not 1 <= len(tools) <= MAX_TOOLS:
        raise _wrong(Reason.TOOLS, f"`tools` has {len(tools)} tools: 1 to {MAX_TOOLS} tools are allowed.")
    names = [_tool_name(index, tool) for index, tool in enumerate(tools)]
    functions = [name for name in names if name is not None]
    if len(set(functions)) < len(functions):
        raise _wrong(Reason.TOOLS, "`tools` has two functions with the same name. Use unique names.")
    return set(functions)


def _tool_name(index: int, tool: object) -> str | None:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise _wrong(Reason.TOOLS, f'tools[{index}] must be an object with a `type`, such as "function".')
    if tool["type"] != "function":
        return None
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise _wrong(
            Reason.TOOLS,
            f"tools[{index}].function.name must have 1 to 64 characters: only letters, digits, underscores and hyphens "
            "are allowed.",
        )
    if not isinstance(function, dict) or not isinstance(function.get("parameters", {}), dict):
        raise _wrong(Reason.TOOLS, f"tools[{index}].function.parameters must be an object with a JSON schema.")
    return name


def _check_choice(choice: Any, names: set[str]) -> None:
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise _wrong(
                Reason.TOOL_CHOICE, f"`toolChoice` must be {_listed(_CHOICES)}, or an object that names a tool."
            )
        if choice == "required" and not names:
            raise _wrong(Reason.TOOL_CHOICE, '`toolChoice` is "required", but `tools` has no function. Add a function.')
        return
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or function.get("name") not in names:
        raise _wrong(
            Reason.TOOL_CHOICE, "`toolChoice` does not name a function in `tools`. Use the name of a function."
        )


def _check_format(form: Any) -> None:
    if form is None:
        return
    if not isinstance(form, dict) or form.get("type") not in _FORMATS:
        raise _wrong(Reason.RESPONSE_FORMAT, f"`responseFormat` must be an object whose `type` is {_listed(_FORMATS)}.")
    if form["type"] != "json_schema":
        return
    spec = form.get("json_schema")
    if not (isinstance(spec, dict) and isinstance(spec.get("name"), str) and isinstance(spec.get("schema"), dict)):
        raise _wrong(Reason.RESPONSE_FORMAT, "`responseFormat.json_schema` must have a `name` and a `schema`.")


def _listed(values: tuple[str, ...]) -> str:
    """Return the values as an English list."""
    *first, last = (f'"{value}"' for value in values)
    return f"{', '.join(first)} or {last}"


def _wrong(reason: Reason, message: str) -> BadUserInput:
    return BadUserInput(message, reason=reason)
