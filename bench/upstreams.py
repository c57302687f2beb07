"""Mocks of AMS, Letta, LiteLLM and Supabase in one process, with static answers and paced tokens.

The model ``nN-dD`` answers with N tokens. A streamed answer pauses for D milliseconds after each token.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import orjson

from app import devtokens
from bench.records import CREATED, account, agent, agent_ids, messages

_MODEL = re.compile(r"n(\d+)-d([\d.]+)$")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _answer(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _static() -> dict[bytes, bytes]:
    """Return prepared answers by path."""
    models = {"object": "list", "data": [{"id": "n1-d0", "object": "model", "created": 1, "owned_by": "bench"}]}
    found: dict[bytes, object] = {
        b"/auth/v1/.well-known/jwks.json": {"keys": [devtokens.signing_key().jwk]},
        b"/ams/me": account(),
        b"/ams/health": {"status": "ok", "checks": {}},
        b"/litellm/v1/models": models,
        b"/letta/v1/agents": [agent(one) for one in agent_ids()],
        b"/letta/v1/conversations/default/messages": messages(agent_ids()[0])[::-1],
    }
    found |= {f"/letta/v1/agents/{one}".encode(): agent(one) for one in agent_ids()}
    return {path: _answer(value) for path, value in found.items()}


_CONVERSATION = _answer(
    {"id": "conv-00000000-0000-4000-8000-000000000000", "agent_id": agent_ids()[0], "created_at": CREATED}
)
_MISSING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def _completion(model: str, tokens: int) -> bytes:
    usage = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}
    choice = {"index": 0, "message": {"role": "assistant", "content": "tok " * tokens}, "finish_reason": "stop"}
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
    return _answer({**whole, "usage": usage})


def _chunk(model: str, delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    one = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
    return b"data: " + orjson.dumps(one) + b"\n\n"


def _events(model: str, tokens: int) -> list[bytes]:
    """Return the events of a response of OpenAI's Responses API, as LiteLLM 1.110 sends them.

    The first three events, and the events after the text, arrive together.
    """
    fixed = {"id": f"resp_{'x' * 350}", "object": "response", "created_at": 1, "model": model, "output": []}
    at = {"item_id": "msg_1", "output_index": 0}
    text = "".join(f"tok{number} " for number in range(tokens))
    item = {"id": "msg_1", "type": "message", "role": "assistant"}
    part = {"type": "output_text", "text": text, "annotations": []}
    whole = {**item, "status": "completed", "content": [part]}
    usage = {"input_tokens": 9, "output_tokens": tokens, "total_tokens": 9 + tokens}
    ended = {**fixed, "status": "completed", "output": [whole], "usage": usage}
    found: list[tuple[str, dict[str, object]]] = [
        ("created", {"response": {**fixed, "status": "in_progress"}}),
        ("in_progress", {"response": {**fixed, "status": "in_progress"}}),
        ("output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}}),
        ("content_part.added", {**at, "content_index": 0, "part": {**part, "text": ""}}),
        *(("output_text.delta", {**at, "content_index": 0, "delta": f"tok{number} "}) for number in range(tokens)),
        ("output_text.done", {**at, "content_index": 0, "text": text}),
        ("content_part.done", {**at, "content_index": 0, "part": part}),
        ("output_item.done", {"output_index": 0, "item": whole}),
        ("completed", {"response": ended}),
    ]
    events = [_event(f"response.{kind}", number, more, model) for number, (kind, more) in enumerate(found)]
    return [b"".join(events[:3]), *events[3:-4], b"".join(events[-4:])]


def _event(kind: str, number: int, more: dict[str, object], model: str) -> bytes:
    wire = {"type": kind, **more, "sequence_number": number, "model": model}
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(wire))


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """A connection from the gateway, with one request at a time."""

    static = _static()
    key_sets = 0

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting = b""
        self._streaming: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature of a protocol
        if self._streaming is not None:
            self._streaming.cancel()

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head, body = self._waiting[:end], end + 4
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(self._waiting) < body + length:
                return
            asked, self._waiting = self._waiting[body : body + length], self._waiting[body + length :]
            self.serve(head, asked)

    def serve(self, head: bytes, asked: bytes) -> None:
        """Answer a request."""
        assert self._transport is not None
        method, target, _ = head.split(b" ", 2)
        if method == b"GET":
            if target.startswith(b"/auth/") and self._is_stuck():
                return
            self._transport.write(self.static.get(target.partition(b"?")[0].rstrip(b"/"), _MISSING))
            return
        if target.startswith(b"/letta/"):
            self._transport.write(_CONVERSATION)
            return
        body = orjson.loads(asked)
        model = str(body.get("model", "n20-d0"))
        found = _MODEL.search(model)
        tokens, pause = (int(found[1]), float(found[2]) / 1000) if found else (20, 0.0)
        if target.endswith(b"/responses"):
            self._streaming = asyncio.ensure_future(self.respond(model, tokens, pause))
        elif body.get("stream"):
            self._streaming = asyncio.ensure_future(self.stream(model, tokens, pause))
        elif pause:
            asyncio.get_running_loop().call_later(pause, self._transport.write, _completion(model, tokens))
        else:
            self._transport.write(_completion(model, tokens))

    @classmethod
    def _is_stuck(cls) -> bool:
        """Return whether to leave a request for keys unanswered. The issuer answers only the first such request."""
        cls.key_sets += 1
        return cls.key_sets > 1

    async def stream(self, model: str, tokens: int, pause: float) -> None:
        """Send a completion's chunks, ``pause`` seconds apart."""
        assert self._transport is not None
        write, loop = self._transport.write, asyncio.get_running_loop()
        write(_STREAM)
        due = loop.time()
        for number in range(tokens):
            write(_chunked(_chunk(model, {"content": f"tok{number} "}, None)))
            due += pause
            await self.until(due)
        write(_chunked(_chunk(model, {}, "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n")

    async def respond(self, model: str, tokens: int, pause: float) -> None:
        """Send a response's events, ``pause`` seconds apart."""
        assert self._transport is not None
        write, loop = self._transport.write, asyncio.get_running_loop()
        write(_STREAM)
        due = loop.time()
        for event in _events(model, tokens):
            write(_chunked(event))
            due += pause
            await self.until(due)
        write(b"0\r\n\r\n")

    async def until(self, due: float) -> None:
        """Wait until the next chunk is due, by the event loop's time."""
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


async def serve() -> None:
    """Serve until the process is stopped. Print the port as the first line of the output."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
