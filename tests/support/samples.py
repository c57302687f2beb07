"""Recorded exchanges with the real Letta 0.16.8, LiteLLM 1.106.2 and Letta's App Server 0.34.12: unchanged answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "contract" / "samples"
_CUT = re.compile(r"\.\.\.\[\d+ chars\]\Z")
_CLOSING = {"{": "}", "[": "]"}


@dataclass(frozen=True)
class Sample:
    """An exchange. ``service`` is ``letta``, ``litellm`` or ``letta-app-server``; status 0 means no answer."""

    service: str
    name: str
    method: str
    path: str
    asked: Any
    status: int
    headers: dict[str, str]
    recorded: Any

    @property
    def streams(self) -> bool:
        return "event-stream" in self.headers.get("content-type", "")

    @cached_property
    def body(self) -> bytes:
        """Return the answer's bytes. A truncated one ends after its last complete value."""
        if not isinstance(self.recorded, str):
            return json.dumps(self.recorded).encode()
        if _CUT.search(self.recorded):
            return closed(_CUT.sub("", self.recorded)).encode()
        return (self.recorded if self.streams or not self.recorded else json.dumps(self.recorded)).encode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """Return the events of a stream; ``[DONE]`` is text."""
        data = [line.removeprefix("data: ") for line in self.recorded.splitlines() if line.startswith("data: ")]
        return [one if one == "[DONE]" else json.loads(one) for one in data]


def closed(text: str) -> str:
    """Close truncated JSON after its last complete value."""
    open_, inside, skip, best = "", False, False, ""
    for at, letter in enumerate(text):
        if skip or (inside and letter == "\\"):
            skip = not skip
        elif letter == '"':
            inside = not inside
        elif not inside:
            if letter in "{[":
                open_ += letter
            elif letter in "}]":
                open_ = open_[:-1]
            elif letter == "," and open_:
                best = text[:at] + "".join(_CLOSING[one] for one in reversed(open_))
    return best


def samples(service: str) -> list[Sample]:
    """Return all samples of a service by name."""
    found = []
    for path in sorted((FOLDER / service).glob("*.json")):
        sample = json.loads(path.read_text())
        asked, answer = sample["request"], sample["response"]
        headers = {name.lower(): value for name, value in answer["headers"]}
        exchange = (asked["method"], asked["path"], asked["body"], answer["status"], headers, answer["body"])
        found.append(Sample(service, path.stem, *exchange))
    return found
