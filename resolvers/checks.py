"""Checks of input that a service would answer with a 500, which would count against its breaker.

An example is an agent's name with other characters than Letta allows. Every check returns its input, or raises
BadUserInput. The endpoints refuse texts with NUL.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput

MAX_KEY = 200
MAX_NAME = 200
MAX_DESCRIPTION = 10_000
MAX_SEARCH = 200
MAX_SUMMARY = 1000
MAX_TAGS = 50
MAX_TAG = 100
MAX_SOURCE_BYTES = 500_000
MAX_VARIABLES_BYTES = 100_000
MAX_NESTING = 50
"""The most levels of nested objects and lists. Answers with more than 254 cannot be encoded."""
PLATFORM_TAG = "user:"
"""The prefix of the tags that the platform reserves."""

_SEMVER = re.compile(
    r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_AGENT_NAME = re.compile(r"[\w '\-]+")
_HEADER = re.compile(r"[\x20-\x7e]*")


def key(key: str) -> str:
    """Check a key that the gateway keeps."""
    if not 1 <= len(key) <= MAX_KEY:
        raise BadUserInput(f"The key has {len(key)} characters: it must have 1 to {MAX_KEY}.", reason=Reason.KEY)
    return key


def header_key(key: str | None) -> str | None:
    """Check an idempotency key that is sent to AMS as a header."""
    if key is not None and not (1 <= len(key) <= MAX_KEY and key == key.strip() and _HEADER.fullmatch(key)):
        raise BadUserInput(
            f"The idempotencyKey must have 1 to {MAX_KEY} printable ASCII characters.", reason=Reason.KEY
        )
    return key


def version(number: str | None) -> str | None:
    """Check a version's number."""
    if number is not None and not is_version(number):
        raise BadUserInput("The version must be a SemVer version, such as 1.2.0.", reason=Reason.VERSION)
    return number


def is_version(number: str) -> bool:
    """Whether a text is a SemVer number."""
    return len(number) <= MAX_NAME and _SEMVER.fullmatch(number) is not None


def is_slug(text: str) -> bool:
    """Whether a text can be a template's slug. AMS takes lists of slugs, separated by commas."""
    return 0 < len(text) <= MAX_NAME and text.isprintable() and "," not in text


def text(text: str | None, field: str, most: int) -> str | None:
    """Check the length of a field."""
    if text is not None and len(text) > most:
        raise BadUserInput(f"The {field} has {len(text)} characters: at most {most} are allowed.", reason=Reason.TEXT)
    return text


def agent_name(name: str | None) -> str | None:
    """Check an agent's name by the rules with which Letta 0.16.8 creates one."""
    if name is None:
        return None
    if not name.strip() or len(name) > MAX_NAME or _AGENT_NAME.fullmatch(name) is None:
        raise BadUserInput(
            f"The name must have 1 to {MAX_NAME} letters, digits, spaces, hyphens, underscores and apostrophes.",
            reason=Reason.NAME,
        )
    return name


def description(description: str | None) -> str | None:
    """Check an agent's description."""
    return text(description, "description", MAX_DESCRIPTION)


def search(search: str | None) -> str | None:
    """Check a search text; ``None`` if it is blank."""
    text(search, "search", MAX_SEARCH)
    return search if search and search.strip() else None


def tags(tags: list[str] | None) -> list[str] | None:
    """Check the tags of an agent or a passage, and remove duplicates."""
    for one in tags or []:
        tag(one)
    if tags is not None and len(tags) > MAX_TAGS:
        raise BadUserInput(f"{len(tags)} tags are given: at most {MAX_TAGS} are allowed.", reason=Reason.TAG)
    return None if tags is None else list(dict.fromkeys(tags))


def tag(tag: str | None) -> str | None:
    """Check a tag."""
    if tag is None:
        return None
    if tag.startswith(PLATFORM_TAG):
        raise BadUserInput(f"Tags that begin with {PLATFORM_TAG} are reserved for the platform.", reason=Reason.TAG)
    if not (0 < len(tag) <= MAX_TAG and tag == tag.strip() and tag.isprintable()):
        raise BadUserInput(
            f"A tag must have 1 to {MAX_TAG} printable characters, without leading or trailing spaces.",
            reason=Reason.TAG,
        )
    return tag


def source(text: str) -> str:
    """Check the size of an Agent File."""
    if len(text.encode()) > MAX_SOURCE_BYTES:
        raise BadUserInput(f"The Agent File is larger than {MAX_SOURCE_BYTES} bytes.", reason=Reason.TOO_LONG)
    return text


def variables(values: Any) -> dict[str, Any]:
    """Check the values of a template's variables."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadUserInput("`variables` must be a JSON object.", reason=Reason.VARIABLES)
    if _is_deep(values):
        raise BadUserInput(f"`variables` is nested more than {MAX_NESTING} levels deep.", reason=Reason.VARIABLES)
    if len(msgspec.json.encode(values)) > MAX_VARIABLES_BYTES:
        raise BadUserInput(f"`variables` is larger than {MAX_VARIABLES_BYTES} bytes of JSON.", reason=Reason.TOO_LONG)
    return values


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_NESTING):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [each for one in inner for each in one]
    return any(isinstance(one, dict | list) for one in level)
