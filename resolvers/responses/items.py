"""The input items of requests to OpenAI's Responses API.

Only items that contain all their content are allowed. The provider would read any other item from its store, where all
users' items are, or would run the tools in the item (decision 0088).
"""

from typing import Any

from clients.codes import Reason
from clients.errors import BadUserInput

_CONTENT = {
    "message": ("content",),
    "reasoning": ("summary", "content", "encrypted_content"),
    "function_call": ("arguments",),
    "function_call_output": ("output",),
    "custom_tool_call": ("input",),
    "custom_tool_call_output": ("output",),
    "local_shell_call": ("action",),
    "local_shell_call_output": ("output",),
    "apply_patch_call": ("operation",),
    "apply_patch_call_output": ("status", "output"),
    "computer_call": ("action", "actions"),
    "computer_call_output": ("output",),
    "web_search_call": ("action",),
}
"""The allowed types of items, and their fields for the content. An item has at least one of these fields."""

_IDENTIFIED = frozenset({
    "reasoning", "local_shell_call", "local_shell_call_output", "computer_call", "web_search_call"
})  # fmt: skip
"""The items that need an id (OpenAI API reference). In others, an id only links the item to stored reasoning."""

_SHOWN = 100


def own_items(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items that a provider does not complete from its store.

    Reasoning items without ``encrypted_content`` are omitted, because they only refer to stored reasoning. The ids that
    link other items to stored reasoning are omitted, too.

    Raises:
        BadUserInput: an item has a type that is not allowed (``MESSAGE``), or tools (``TOOLS``).
    """
    found = [_own(item) for index, item in enumerate(items) if _checked(index, item) and not _is_stored(item)]
    if not found:
        message = "`input` has only references to stored reasoning. Send messages."
        raise BadUserInput(message, reason=Reason.MESSAGE, details={"param": "input"})
    return found


def _checked(index: int, item: dict[str, Any]) -> bool:
    kind = _kind(item)
    fields = _CONTENT.get(kind)
    if fields is None:
        name = f"has the type {kind[:_SHOWN]!r}, which is not allowed"
        raise _refused(index, f"{name}. Send the content in messages, or use previous_response_id.")
    if all(item.get(name) is None for name in fields) or (kind == "message" and item.get("role") is None):
        needed = " or ".join(f"`{name}`" for name in (("role", *fields) if kind == "message" else fields))
        raise _refused(index, f"only refers to a stored item. Add {needed}, or use previous_response_id.")
    if "tools" in item:
        message = f"input[{index}] has tools. Send them in `tools`."
        raise BadUserInput(message, reason=Reason.TOOLS, details={"param": f"input[{index}].tools"})
    return True


def _kind(item: dict[str, Any]) -> str:
    kind = item.get("type")
    return "message" if kind is None else str(kind)


def _is_stored(item: dict[str, Any]) -> bool:
    return _kind(item) == "reasoning" and not item.get("encrypted_content")


def _own(item: dict[str, Any]) -> dict[str, Any]:
    if "id" not in item or _kind(item) in _IDENTIFIED:
        return item
    return {name: value for name, value in item.items() if name != "id"}


def _refused(index: int, text: str) -> BadUserInput:
    return BadUserInput(f"input[{index}] {text}", reason=Reason.MESSAGE, details={"param": f"input[{index}]"})
