"""Recorded exchanges with Letta 0.16.8, its App Server 0.34.12, LiteLLM 1.106.2 and 1.110.2: unchanged answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

FOLDER = Path(__file__).parents[1] / "contract" / "samples"
_CUT = re.compile(r"\.\.\.\[\d+ chars\]\Z")
_CLOSING = {"{": "}", "[": "]"}

_MODEL, _LIMITED, _STALLED = ("UPSTREAM_ERROR", "MODEL"), ("RATE_LIMITED", None), ("UPSTREAM_TIMEOUT", "TOTAL")
BROKEN: dict[str, tuple[str, str | None]] = {
    **dict.fromkeys(("litellm/err_cut_stream", "litellm/err_cutjson_stream"), _MODEL),
    **{
        f"{folder}/mid_{name}": end
        for folder in ("litellm", "litellm-1.110")
        for name, end in {
            **dict.fromkeys(("cut", "cutjson", "errevent"), _MODEL),
            "errdone": _LIMITED,
            "stall": _STALLED,
        }.items()
    },
    "litellm-1.110/mid_nodone": _MODEL,  # LiteLLM 1.106 invents a finish reason
}
"""The code and reason of the error that ends a streamed answer. LiteLLM 1.110 sends ``[DONE]`` after the error."""


@dataclass(frozen=True)
class Sample:
    """An exchange. ``folder`` has the service and, for LiteLLM 1.110.2, the version; status 0 means no answer."""

    folder: str
    name: str
    method: str
    path: str
    asked: Any
    status: int
    headers: dict[str, str]
    recorded: Any

    @property
    def service(self) -> str:
        """``letta`` or ``litellm``."""
        return self.folder.partition("-")[0]

    @property
    def id(self) -> str:
        """A name that no other sample has."""
        return f"{self.folder}/{self.name}"

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


def samples(folder: str) -> list[Sample]:
    """Return all samples of a folder by name."""
    found = []
    for path in sorted((FOLDER / folder).glob("*.json")):
        sample = json.loads(path.read_text())
        asked, answer = sample["request"], sample["response"]
        headers = {name.lower(): value for name, value in answer["headers"]}
        query = urlencode(asked.get("params") or {})
        where = f"{asked['path']}?{query}" if query else asked["path"]
        exchange = (asked["method"], where, asked["body"], answer["status"], headers, answer["body"])
        found.append(Sample(folder, path.stem, *exchange))
    return found
