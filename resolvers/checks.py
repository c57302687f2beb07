"""Refuses input for which a service would return HTTP status 500. Such responses would open the circuit breaker.

Every check returns its input, or raises BadUserInput.
"""

import re
import uuid
from typing import Any

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput

MAX_KEY = 200
MAX_NAME = 200
MAX_DESCRIPTION = 10_000
MAX_SEARCH = 200
MAX_SUMMARY = 1000
MAX_SESSION_ID = 100
MAX_TAGS = 50
MAX_TAG = 100
MAX_SOURCE_BYTES = 500_000
MAX_VARIABLES_BYTES = 100_000
MAX_NESTING = 50
"""The maximum nesting depth of a JSON value. The encoder supports at most 254 levels."""
PLATFORM_TAG = "user:"
"""The prefix of tags that are reserved for the platform."""

_SEMVER = re.compile(
    r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_AGENT_NAME = re.compile(r"[\w '\-]+")
_HEADER = re.compile(r"[\x20-\x7e]*")


def key(key: str) -> str:
    """Check the length of a stream key or an idempotency key that the gateway stores."""
    if not 1 <= len(key) <= MAX_KEY:
        raise BadUserInput(
            f"The stream key or idempotency key has {len(key)} characters: 1 to {MAX_KEY} characters are allowed.",
            reason=Reason.KEY,
        )
    return key


def header_key(key: str | None) -> str | None:
    """Check the characters of an idempotency key that the gateway sends to AMS in a header."""
    if key is not None and not (1 <= len(key) <= MAX_KEY and key == key.strip() and _HEADER.fullmatch(key)):
        raise BadUserInput(
            f"`idempotencyKey` must have 1 to {MAX_KEY} printable ASCII characters, and must not begin or end with a "
            "space.",
            reason=Reason.KEY,
        )
    return key


def version(number: str | None) -> str | None:
    """Check a version number."""
    if number is not None and not is_version(number):
        raise BadUserInput("The version is not valid SemVer. Use a version such as 1.2.0.", reason=Reason.VERSION)
    return number


def is_version(number: str) -> bool:
    """Return whether a text is a SemVer version."""
    return len(number) <= MAX_NAME and _SEMVER.fullmatch(number) is not None


def is_slug(text: str) -> bool:
    """Return whether a text can be a template's slug. Commas are not allowed, because AMS separates slugs by commas."""
    return 0 < len(text) <= MAX_NAME and text.isprintable() and "," not in text


def text(text: str | None, field: str, most: int) -> str | None:
    """Check the length of a text field."""
    if text is not None and len(text) > most:
        raise BadUserInput(f"`{field}` has {len(text):,} characters: at most {most:,} are allowed.", reason=Reason.TEXT)
    return text


def session_id(text: str) -> str:
    """Check a sign-in session's id. Return the id in the spelling that access tokens use."""
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError as error:
        message = "`sessionId` must be a UUID. Use the claim `session_id` of an access token."
        raise BadUserInput(message, reason=Reason.TEXT) from error


def agent_name(name: str | None) -> str | None:
    """Check an agent's name by Letta 0.16.8's rules for new agents."""
    if name is None:
        return None
    if not name.strip() or len(name) > MAX_NAME or _AGENT_NAME.fullmatch(name) is None:
        raise BadUserInput(
            f"The name must have 1 to {MAX_NAME} characters: only letters, digits, spaces, hyphens, underscores and "
            "apostrophes are allowed.",
            reason=Reason.NAME,
        )
    return name


def description(description: str | None) -> str | None:
    """Check an agent's description."""
    return text(description, "description", MAX_DESCRIPTION)


def search(search: str | None) -> str | None:
    """Check a search text. Return ``None`` if the text is blank."""
    text(search, "search", MAX_SEARCH)
    return search if search and search.strip() else None


def tags(tags: list[str] | None) -> list[str] | None:
    """Check the tags of an agent or a passage, and remove duplicates."""
    for one in tags or []:
        tag(one)
    if tags is not None and len(tags) > MAX_TAGS:
        raise BadUserInput(f"The input has {len(tags)} tags: at most {MAX_TAGS} are allowed.", reason=Reason.TAG)
    return None if tags is None else list(dict.fromkeys(tags))


def tag(tag: str | None) -> str | None:
    """Check a tag."""
    if tag is None:
        return None
    if tag.startswith(PLATFORM_TAG):
        message = f"Tags that begin with {PLATFORM_TAG} are reserved for the platform. Use different tags."
        raise BadUserInput(message, reason=Reason.TAG)
    if not (0 < len(tag) <= MAX_TAG and tag == tag.strip() and tag.isprintable()):
        raise BadUserInput(
            f"A tag must have 1 to {MAX_TAG} printable characters, and must not begin or end with a space.",
            reason=Reason.TAG,
        )
    return tag


def source(text: str) -> str:
    """Check the size of an Agent File."""
    if len(text.encode()) > MAX_SOURCE_BYTES:
        raise BadUserInput(
            f"The Agent File has more than {MAX_SOURCE_BYTES:,} bytes. Shorten the file.", reason=Reason.TOO_LONG
        )
    return text


def variables(values: Any) -> dict[str, Any]:
    """Check the values of a template's variables."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadUserInput("`variables` must be a JSON object.", reason=Reason.VARIABLES)
    if _is_deep(values):
        raise BadUserInput(
            f"`variables` has more than {MAX_NESTING} levels of nesting. Reduce the nesting to {MAX_NESTING} levels.",
            reason=Reason.VARIABLES,
        )
    if len(msgspec.json.encode(values)) > MAX_VARIABLES_BYTES:
        raise BadUserInput(
            f"`variables` has more than {MAX_VARIABLES_BYTES:,} bytes of JSON. Shorten the values.",
            reason=Reason.TOO_LONG,
        )
    return values


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_NESTING):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [each for one in inner for each in one]
    return any(isinstance(one, dict | list) for one in level)
