"""Embedded services on loopback that record each request, and answer with a fault when a test says so."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, cycle, repeat

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.embedded.faults import TRANSPORT
from tests.support.canaries import Canaries


@dataclass(frozen=True)
class Reply:
    """A faulty answer.

    Attributes:
        after: what follows the body: the end, the connection's reset, or silence.
    """

    status: int
    body: bytes
    kind: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    after: str = "end"


SILENCE_SECONDS = 1.2

Fault = Callable[[str], Reply]
"""Returns the answer to a request. The argument has all that the request contains, which a bad service might repeat."""


def _errors(status: int) -> Fault:
    def answer(echo: str) -> Reply:
        error = {"message": echo, "type": echo, "param": echo, "code": str(status)}
        body = {"error": error, "detail": echo, "message": echo, "problems": [echo], "errors": [{"message": echo}]}
        return Reply(status, json.dumps(body).encode(), headers=((b"retry-after", b"0"),))

    return answer


def _event(echo: str) -> bytes:
    return b"data: " + json.dumps({"error": {"message": echo, "code": "500"}}).encode() + b"\n\n"


def _answer_with(echo: str, kind: str = "application/json") -> Reply:
    """Return an answer that is valid at each endpoint for models, and repeats the request in further members."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    item = {"id": "gpt-4o-mini", "object": "model", "index": 0, "embedding": [0.5]}
    body = json.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "data": [item], "echo": echo})
    if kind == _EVENTS:
        body = "".join(f"data: {one}\n\n" for one in (json.dumps({"choices": [], "echo": echo}), _LAST, "[DONE]"))
    repeated = "".join(filter(str.isprintable, echo[:2000])).encode("ascii", "ignore")
    return Reply(200, body.encode(), kind, ((b"llm_provider-echo", repeated), (b"x-litellm-call-id", repeated)))


_LAST = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
_EVENTS = "text/event-stream"
FAULTS: dict[str, Fault] = {
    **{f"status {status}": _errors(status) for status in (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503)},
    "redirect": lambda echo: Reply(
        302, b"", headers=((b"location", b"/moved?" + echo[:4000].encode().hex().encode()),)
    ),
    "page": lambda echo: Reply(200, f"<title>Sign in</title>{echo}".encode(), "text/html"),
    "broken JSON": lambda echo: Reply(200, f'{{"echo": "{echo}'.encode()),
    "other JSON": lambda echo: Reply(200, json.dumps({"data": [{"id": [echo]}], "id": 7, "choices": echo}).encode()),
    "huge": lambda echo: Reply(200, json.dumps([echo] * (1 + 400_000 // len(echo))).encode()),
    "error event": lambda echo: Reply(200, _event(echo), _EVENTS),
    "late error event": lambda echo: Reply(200, _CHUNK + _event(echo), _EVENTS),
    "broken event": lambda echo: Reply(200, _CHUNK + f'data: {{"echo": "{echo}\n\n'.encode(), _EVENTS),
    "valid JSON": _answer_with,
    "valid events": lambda echo: _answer_with(echo, _EVENTS),
    "cut stream": lambda _: Reply(200, _CHUNK, _EVENTS, after="reset"),
    "cut": lambda echo: Reply(200, f'{{"echo": "{echo}"'.encode(), after="reset"),
    "reset": lambda _: Reply(0, b"", after="reset"),
    "silence": lambda _: Reply(0, b"", after="silence"),
}


@dataclass
class Watched:
    """A service that records its requests.

    Attributes:
        faults: the faults of the next requests; ``None`` to answer as the service does.
        events: the data of the events that answer the next requests.
        reached: how often each fault was the answer.
    """

    name: str
    app: ASGIApp
    canaries: Canaries
    faults: Iterator[str] | None = None
    events: list[str] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)

    def fail(self) -> None:
        """Answer each request with the next fault, only once with silence."""
        self.faults = chain(FAULTS, cycle(fault for fault in FAULTS if fault != "silence"))

    def fail_with(self, fault: str) -> None:
        """Answer each request with one fault."""
        self.faults = repeat(fault)

    def recover(self) -> None:
        """Answer as the service does."""
        self.faults, self.events = None, []

    def say(self, events: list[str]) -> None:
        """Answer each POST request with events."""
        self.events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        head = [b"%b: %b" % tuple(one) for one in scope["headers"]]
        seen = [scope["path"].encode(), scope["query_string"], *head, body]
        self.canaries.leak(f"to {self.name}", *seen)
        if self.faults is not None:
            fault = next(self.faults)
            self.reached[fault] += 1
            await _answer(scope, send, FAULTS[fault](b" ".join(seen).decode("latin-1")))
            return
        if self.events and scope["method"] == "POST":
            self.canaries.leak("given", *self.events)
            await _answer(scope, send, Reply(200, "".join(f"data: {one}\n\n" for one in self.events).encode(), _EVENTS))
            return
        given: Message | None = {"type": "http.request", "body": body}

        async def again() -> Message:
            nonlocal given
            if given is None:
                return await receive()
            message, given = given, None
            return message

        await self.app(scope, again, send)


async def _answer(scope: Scope, send: Send, reply: Reply) -> None:
    transport = scope["extensions"][TRANSPORT]
    if reply.status:
        headers = [(b"content-type", reply.kind.encode()), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": reply.after != "end"})
    if reply.after == "silence":
        await asyncio.sleep(SILENCE_SECONDS)
    if reply.after != "end":
        await asyncio.sleep(0)
        transport.abort()
