"""What is checked before it is sent on: texts that an upstream would choke on never reach it.

A name with other characters than Letta allows is a 500 there, which would count against the service; so is a NUL in
any text, which the doors let nobody send. Every check raises BadUserInput.
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
"""How deep objects and lists may be nested: what shows them again could not be written down beyond 254."""
PLATFORM_TAG = "user:"
"""What the tags begin with that the platform keeps for itself."""

_SEMVER = re.compile(
    r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_AGENT_NAME = re.compile(r"[\w '\-]+")
_HEADER = re.compile(r"[\x20-\x7e]*")


def key(given: str) -> str:
    """A key that the gateway itself knows something by."""
    if not 1 <= len(given) <= MAX_KEY:
        raise BadUserInput(f"The key has {len(given)} characters: it must have 1 to {MAX_KEY}.", reason=Reason.KEY)
    return given


def header_key(key: str | None) -> str | None:
    """An idempotency key that goes on to AMS as a header."""
    if key is not None and not (1 <= len(key) <= MAX_KEY and key == key.strip() and _HEADER.fullmatch(key)):
        raise BadUserInput(
            f"The idempotencyKey must have 1 to {MAX_KEY} printable ASCII characters.", reason=Reason.KEY
        )
    return key


def version(number: str | None) -> str | None:
    """A version's number."""
    if number is not None and (len(number) > MAX_NAME or _SEMVER.fullmatch(number) is None):
        raise BadUserInput("The version must be a SemVer version, such as 1.2.0.", reason=Reason.VERSION)
    return number


def is_version(number: str) -> bool:
    """Whether a text is a SemVer number."""
    return len(number) <= MAX_NAME and _SEMVER.fullmatch(number) is not None


def is_slug(text: str) -> bool:
    """Whether a text can be a template's short name: nothing that is more than one id in a list of them."""
    return 0 < len(text) <= MAX_NAME and text.isprintable() and "," not in text


def text(given: str | None, what: str, most: int) -> str | None:
    """A text that Letta keeps."""
    if given is not None and len(given) > most:
        raise BadUserInput(f"The {what} has {len(given)} characters: at most {most} are allowed.", reason=Reason.TEXT)
    return given


def agent_name(name: str | None) -> str | None:
    """An agent's name, as Letta 0.16.8 takes it when it makes one."""
    if name is None:
        return None
    if not name.strip() or len(name) > MAX_NAME or _AGENT_NAME.fullmatch(name) is None:
        raise BadUserInput(
            f"The name must have 1 to {MAX_NAME} letters, digits, spaces, hyphens, underscores and apostrophes.",
            reason=Reason.NAME,
        )
    return name


def description(given: str | None) -> str | None:
    """What an agent is for."""
    return text(given, "description", MAX_DESCRIPTION)


def search(given: str | None) -> str | None:
    """What is searched for; nothing but spaces is nothing."""
    text(given, "search", MAX_SEARCH)
    return given if given and given.strip() else None


def tags(given: list[str] | None) -> list[str] | None:
    """The tags of an agent or a passage, each once."""
    for tag in given or []:
        _tag(tag)
    if given is not None and len(given) > MAX_TAGS:
        raise BadUserInput(f"{len(given)} tags are given: at most {MAX_TAGS} are allowed.", reason=Reason.TAG)
    return None if given is None else list(dict.fromkeys(given))


def tag(given: str | None) -> str | None:
    """A tag to look for."""
    if given is not None:
        _tag(given)
    return given


def _tag(given: str) -> None:
    if given.startswith(PLATFORM_TAG):
        raise BadUserInput(f"Tags that begin with {PLATFORM_TAG} are reserved for the platform.", reason=Reason.TAG)
    if not (0 < len(given) <= MAX_TAG and given == given.strip() and given.isprintable()):
        raise BadUserInput(
            f"A tag must have 1 to {MAX_TAG} printable characters, without leading or trailing spaces.",
            reason=Reason.TAG,
        )


def source(text: str) -> str:
    """An Agent File's text."""
    if len(text.encode()) > MAX_SOURCE_BYTES:
        raise BadUserInput(f"The Agent File is larger than {MAX_SOURCE_BYTES} bytes.", reason=Reason.TOO_LONG)
    return text


def variables(given: Any) -> dict[str, Any]:
    """A template's variables: a JSON object."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadUserInput("`variables` must be a JSON object.", reason=Reason.VARIABLES)
    if _is_deep(given):
        raise BadUserInput(f"`variables` is nested more than {MAX_NESTING} levels deep.", reason=Reason.VARIABLES)
    if len(msgspec.json.encode(given)) > MAX_VARIABLES_BYTES:
        raise BadUserInput(f"`variables` is larger than {MAX_VARIABLES_BYTES} bytes of JSON.", reason=Reason.TOO_LONG)
    return given


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_NESTING):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [each for one in inner for each in one]
    return any(isinstance(one, dict | list) for one in level)
