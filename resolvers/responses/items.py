"""The input items of requests to OpenAI's Responses API.

Only items that contain all their content are allowed. The provider would read any other item from its store, where all
users' items are, or would run the tools in the item (decision 0088).
"""

from typing import Any

from clients.codes import Reason
from clients.errors import BadUserInput

_TYPES = frozenset({
    "message", "reasoning", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
    "local_shell_call", "local_shell_call_output", "apply_patch_call", "apply_patch_call_output", "computer_call",
    "computer_call_output", "web_search_call",
})  # fmt: skip
_LINKED = frozenset({"message", "function_call", "custom_tool_call"})
"""Items that a provider links by id to a stored reasoning item. Without an id, they stand alone."""

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
    kind = item.get("type")
    if kind is None and not (isinstance(item.get("role"), str) and "content" in item):
        raise _refused(index, "has no type, and no role and content. Send the whole item, or use previous_response_id.")
    if kind is not None and kind not in _TYPES:
        name = f"has the type {str(kind)[:_SHOWN]!r}, which is not allowed"
        raise _refused(index, f"{name}. Send the content in messages, or use previous_response_id.")
    if "tools" in item:
        message = f"input[{index}] has tools. Send them in `tools`."
        raise BadUserInput(message, reason=Reason.TOOLS, details={"param": f"input[{index}].tools"})
    return True


def _is_stored(item: dict[str, Any]) -> bool:
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def _own(item: dict[str, Any]) -> dict[str, Any]:
    if "id" not in item or item.get("type", "message") not in _LINKED:
        return item
    return {name: value for name, value in item.items() if name != "id"}


def _refused(index: int, text: str) -> BadUserInput:
    return BadUserInput(f"input[{index}] {text}", reason=Reason.MESSAGE, details={"param": f"input[{index}]"})
