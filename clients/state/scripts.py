"""Lua scripts that Redis executes atomically."""

import hashlib


class Script:
    """A Lua script. Redis identifies the script by its SHA-1 digest, and loses the script at a restart."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
