"""Runs the cases of a client library: reads a case per line from standard input, and writes its result as a line.

The scripts of this folder run in environments of their own, without the gateway's packages.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel

Json = dict[str, Any]
TOOL = "roll"
"""The name of the tool in the case ``tools``. Its result is ``RESULT``."""
RESULT = "4"
TEXTS = ["Where is my parcel?", "My parcel is late."]
"""What the case ``embeddings`` embeds."""
PARAMETERS = {
    "type": "object",
    "properties": {"sides": {"type": "integer"}},
    "required": ["sides"],
    "additionalProperties": False,
}
"""The tool's parameters, for libraries that do not make them from a function."""


class Town(BaseModel):
    """What the case ``structured`` asks for."""

    city: str
    people: int


@dataclass
class Ask:
    """What a case sends, and the texts that it has received so far, so that they are known if it raises.

    Attributes:
        endpoint: ``chat`` for chat completions, or ``responses``.
        url: the gateway's URL.
        extra: fields of the request body that the library does not know.
    """

    endpoint: str
    url: str
    token: str
    model: str
    prompt: str
    extra: Json = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        """The base URL for OpenAI's clients."""
        return f"{self.url}/v1"

    @property
    def chats(self) -> bool:
        """Whether the case uses chat completions."""
        return self.endpoint == "chat"

    @property
    def messages(self) -> list[Json]:
        """The prompt as a list of messages."""
        return [{"role": "user", "content": self.prompt}]


Case = Callable[[Ask], Awaitable[Json | None]]


def serve(packages: tuple[str, ...], *cases: Case) -> None:
    """Run cases until standard input ends. A case has the name of its function."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a library that prints does not disturb the results
    named = {case.__name__: case for case in cases}
    print(json.dumps({"versions": {name: version(name) for name in packages}, "cases": list(named)}), file=out)
    asyncio.run(_serve(named, lambda result: print(json.dumps(result), file=out)))


async def _serve(cases: dict[str, Case], say: Callable[[Json], None]) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        case, ask = cases[asked.pop("case")], Ask(**asked)
        try:
            result = await case(ask) or {}
        except Exception as error:  # noqa: BLE001 - what a library raises is the result
            result = {"raised": described(error)}
        say({"text": "".join(ask.texts), "deltas": len(ask.texts), **result})


def described(error: Any) -> Json:
    """Return what a user of a library sees of an error."""
    return {
        "type": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "shown": f"{error} {getattr(error, 'body', '')}",
    }


def used(usage: Any) -> Json | None:
    """Return the numbers of input and output tokens of OpenAI's usage, with the names of either endpoint."""
    if usage is None:
        return None
    fields = usage.model_dump()
    return {
        "input": fields.get("prompt_tokens", fields.get("input_tokens")),
        "output": fields.get("completion_tokens", fields.get("output_tokens")),
    }
