"""Removes the key of a call from what clients receive as LiteLLM has sent it."""

HIDDEN = b"(hidden)"

MIN_KEY_CHARS = 16
"""A shorter key could be a part of another text."""


def has_key(text: str, key: str) -> bool:
    """Return whether a text contains the key."""
    return len(key) >= MIN_KEY_CHARS and key in text


def without_key(raw: bytes, key: str) -> bytes:
    """Return ``raw`` without the key. LiteLLM or a proxy before it could repeat a request's headers."""
    return raw if len(key) < MIN_KEY_CHARS else raw.replace(key.encode(), HIDDEN)
