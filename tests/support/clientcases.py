"""The cases of the client matrix: what a library is asked, and what both sides must see."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.embedded.faults import Fault
from app.embedded.vectors import embed
from tests.support.libraries import Json, Running
from tests.support.stack import GRACE, Stack, until
from tests.support.streaming import expected

YES = "✓"


DIMENSIONS = 1536
EMBEDDED = ["Where is my parcel?", "My parcel is late."]
LEFT = 500
"""The tokens of an answer that the client leaves after the first. At 0.01 s for each, it takes five seconds."""
PATIENCE_SECONDS = 60
"""How long a test waits for the gateway. On an idle machine, only answers that go on take more than a moment."""

MESSAGES = {
    "invalid_api_key": "The token is not valid",
    "model_not_found": "The model does not exist",
    "unknown_parameter": "Unknown parameter: 'nope'",
    "rate_limit_exceeded": "rate limit is exceeded",
    "budget_exceeded": "Your budget for model calls is exhausted",
    "model": "The model call failed",
    "request": "has no effect on an agent",
    "cut": "The connection to LiteLLM broke",
}
"""The beginning of the gateway's message for each error code."""


CUT = {"chat": ("/v1/chat/completions", 3000), "responses": ("/v1/responses", 7000)}
"""Where LiteLLM's connection breaks: the path, and the bytes of the answer before, which are about half of it."""


class LacksError(Exception):
    """The library does not offer a case."""


@dataclass
class Cell:
    """A library at an endpoint, with one model.

    Attributes:
        route: the beginning of the routes whose requests are counted.
    """

    stack: Stack
    library: Running
    endpoint: str
    url: str
    token: str
    model: str
    route: str = "/v1/"
    since: int = 0

    async def ask(self, case: str, directive: str, **more: Any) -> Json:
        """Run a case of the library. Its log is the gateway's log from now on. Raises LacksError."""
        self.since = len(self.stack.log.getvalue())
        given = {"url": self.url, "token": self.token, "model": self.model, "endpoint": self.endpoint, **more}
        seen = await self.library.run(case, **given, prompt=f"hi [[{directive}]]")
        if seen.get("lacks"):
            raise LacksError
        return seen

    def logged(self, event: str) -> list[Json]:
        """Return the gateway's log lines of an event."""
        lines = [json.loads(line) for line in self.stack.log.getvalue()[self.since :].splitlines()]
        return [line for line in lines if line["event"] == event]

    @property
    def requests(self) -> list[Json]:
        """The answered requests of the library."""
        return [line for line in self.logged("request") if line["route"].startswith(self.route)]

    @property
    def outcomes(self) -> set[str]:
        """The outcomes of the gateway's streams."""
        return {line["outcome"] for line in self.logged("stream")}


Case = Callable[[Cell], Awaitable[str]]


def succeeded(seen: Json) -> None:
    assert "raised" not in seen, seen["raised"]
    assert "told" not in seen, seen["told"]


def counted(seen: Json, tokens: int) -> str:
    """Check the numbers of tokens, unless the library shows none."""
    usage = seen.get("usage")
    if usage is None or not usage["output"]:
        return f"{YES} without usage"
    assert usage["output"] == tokens, usage
    assert usage["input"] > 0
    return YES


async def models(cell: Cell) -> str:
    seen = await cell.ask("models", "")
    succeeded(seen)
    assert cell.model in seen["listed"]
    assert seen.get("retrieved", cell.model) == cell.model
    return YES if "retrieved" in seen else f"{YES} only the list"


async def plain(cell: Cell) -> str:
    seen = await cell.ask("plain", "tokens=3 delay=0")
    succeeded(seen)
    assert seen["text"] == expected(3)
    assert len(cell.requests) == 1
    return counted(seen, 3)


async def stream(cell: Cell) -> str:
    seen = await cell.ask("stream", "tokens=20 delay=0.01")
    succeeded(seen)
    assert seen["text"] == expected(20)
    assert seen["deltas"] > 1
    await until(lambda: cell.requests, PATIENCE_SECONDS)
    assert len(cell.requests) == 1
    return f"{YES} at its end" if seen.get("late") else counted(seen, 20)


async def tools(cell: Cell) -> str:
    seen = await cell.ask("tools", "tool=roll")
    succeeded(seen)
    assert seen["called"] == [["roll", {"sides": 1}]]
    assert seen["text"] == "The tool roll answered 4."
    assert len(cell.requests) == 2
    return YES


async def structured(cell: Cell) -> str:
    seen = await cell.ask("structured", "tokens=2 delay=0")
    succeeded(seen)
    assert seen["value"] == {"city": expected(2), "people": 1}
    return YES


async def embeddings(cell: Cell) -> str:
    seen = await cell.ask("embeddings", "", model=cell.stack.embedding_model)
    succeeded(seen)
    for vector, text in zip(seen["vectors"], EMBEDDED, strict=True):
        wanted = embed(text, DIMENSIONS)
        assert max(abs(one - other) for one, other in zip(vector, wanted, strict=True)) < 1e-6
    return YES


async def abort(cell: Cell) -> str:
    before = await cell.stack.model_stats()
    seen = await cell.ask("abort", f"tokens={LEFT} delay=0.01")
    succeeded(seen)
    assert seen["text"]
    assert expected(LEFT).startswith(seen["text"])
    await until(lambda: cell.outcomes and cell.requests, PATIENCE_SECONDS)
    if cell.outcomes == {"completed"}:
        return "the model goes on"
    assert cell.outcomes == {"cancelled"}

    async def closed() -> bool:
        now = await cell.stack.model_stats()
        return now["disconnected"] == before["disconnected"] + 1 and now["inflight"] == before["inflight"]

    await until(closed, PATIENCE_SECONDS)
    return YES


async def broken(cell: Cell) -> str:
    path, after = CUT[cell.endpoint]
    cell.stack.platform.faults["litellm"] = Fault(cut_after=after, path=path)
    seen = await cell.ask("stream", "tokens=100 delay=0")
    del cell.stack.platform.faults["litellm"]
    await until(lambda: cell.outcomes and cell.requests, PATIENCE_SECONDS)
    assert cell.outcomes == {"failed"}
    assert seen["text"]
    assert expected(99).startswith(seen["text"].rstrip())
    return shown(cell, seen, "cut")


async def plain_refused(cell: Cell, code: str, directive: str = "tokens=3 delay=0", **asked: Any) -> str:
    case = "refused" if "refused" in cell.library.cases else "plain"
    seen = await cell.ask(case, directive, **asked)
    assert "raised" in seen
    return shown(cell, seen, code)


def shown(cell: Cell, seen: Json, code: str) -> str:
    """Describe an error as the library shows it, and whether it shows the gateway's code or message."""
    if "raised" not in seen:
        return described(cell, seen)
    raised = seen["raised"]
    if code in {raised["code"], *raised["shown"].replace("'", '"').split('"')}:
        return described(cell, seen, f" `{code}`")
    return described(cell, seen, "" if MESSAGES[code] in raised["shown"] else " without code and message")


def described(cell: Cell, seen: Json, named: str = "") -> str:
    """Describe an error, and how many requests the library has sent if it is not exactly one."""
    count = len(cell.requests)
    assert count <= MOST_REQUESTS, "the library never stops"
    times = {0: ", no request", 1: ""}.get(count, f", {count} requests")
    raised = f"`{seen['raised']['type']}`" if "raised" in seen else seen.get("told", "ends without an error")
    return f"{raised}{named}{times}"


MOST_REQUESTS = 12
"""The most requests that a library may send for one refused request: llama-index repeats the repetitions of its SDK."""


async def bad_token(cell: Cell) -> str:
    return await plain_refused(cell, "invalid_api_key", token="sk-nonsense")


async def unknown_model(cell: Cell) -> str:
    return await plain_refused(cell, "model_not_found", model="nope")


async def unknown_parameter(cell: Cell) -> str:
    return await plain_refused(cell, "unknown_parameter", extra={"nope": 1})


async def rate_limited(cell: Cell) -> str:
    return await plain_refused(cell, "rate_limit_exceeded", "error=429")


async def no_budget(cell: Cell) -> str:
    await cell.stack.own_key(GRACE, max_budget=0.0)
    return await plain_refused(cell, "budget_exceeded", token=cell.stack.token(GRACE))
