"""Texts that a test plants, and the search for them in everything that a process lets out."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

PREFIX = "cnrycnry"

Table = dict[str, frozenset[str]]
"""The sinks that may have a canary, by a pattern of the canary's name."""


@dataclass
class Canaries:
    """Planted texts, and the bytes that reached each sink.

    Attributes:
        texts: the texts to search for, by name. A longer text that contains a canary's text is found by it.
        sinks: what was written, sent and kept, by the name of the place.
    """

    texts: dict[str, str] = field(default_factory=dict)
    sinks: defaultdict[str, bytearray] = field(default_factory=lambda: defaultdict(bytearray))

    def plant(self, name: str, text: str | None = None) -> str:
        """Return a canary's text: a new one, which looks random, or ``text``."""
        digest = hashlib.sha256(f"canary {name}".encode()).hexdigest()
        return self.texts.setdefault(name, text or f"{PREFIX}{digest[:24]}")

    def leak(self, sink: str, *pieces: bytes | str) -> None:
        """Record what reached a sink."""
        for piece in pieces:
            self.sinks[sink] += (piece.encode() if isinstance(piece, str) else piece) + b"\n"

    def found(self) -> dict[str, set[str]]:
        """Return the sinks in which each canary is, in any coding."""
        found: dict[str, set[str]] = {name: set() for name in self.texts}
        for sink, written in self.sinks.items():
            text = bytes(written)
            has_codes = any(code in text for code in _codes(PREFIX))
            for name, canary in self.texts.items():
                codes = _codes(canary) if has_codes or not canary.startswith(PREFIX) else [canary.encode()]
                if any(code in text for code in codes):
                    found[name].add(sink)
        return found

    def leaks(self, table: Table) -> set[tuple[str, str]]:
        """Return each canary in a sink that its row of the table does not name, with the sink."""
        return {(name, sink) for name, sinks in self.found().items() for sink in sinks - allowed_for(table, name)}


def allowed_for(table: Table, name: str) -> frozenset[str]:
    """Return the sinks of the first row whose pattern matches the name."""
    return next(sinks for pattern, sinks in table.items() if fnmatchcase(name, pattern))


def _codes(text: str) -> Iterator[bytes]:
    """Yield a text in plain, backwards, in hexadecimal digits, and in base64 and base64url.

    Base64 has three forms of a text inside a longer one. The characters that depend on its neighbours are left out.
    Canaries are alphanumeric, so that percent-encoding and JSON do not change them.
    """
    raw = text.encode()
    yield from (raw, raw[::-1], raw.hex().encode(), raw.hex().upper().encode())
    for pad in range(3):
        code = base64.b64encode(b"\0" * pad + raw)[(0, 2, 3)[pad] : -4]
        yield from {code, code.translate(bytes.maketrans(b"+/", b"-_"))}
