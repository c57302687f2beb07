"""Mocks of AMS, Letta, LiteLLM and Supabase in one process: static answers, and a model that paces its tokens.

The model ``nN-dD`` answers with N tokens, D milliseconds apart if streamed.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any, cast

import orjson

from app import devtokens
from app.embedded.people import ADA

AGENTS, MESSAGES = 50, 20
CREATED = "2026-01-01T00:00:00Z"

_MODEL = re.compile(r"n(\d+)-d([\d.]+)$")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _answer(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _agent(agent_id: str) -> dict[str, Any]:
    return {
        "id": agent_id,
        "name": f"Agent {agent_id}",
        "description": "A helpful agent",
        "agent_type": "memgpt_v2_agent",
        "model": "openai/gpt-4o-mini",
        "embedding": "openai/text-embedding-3-small",
        "system": "You are helpful. " * 40,
        "tags": ["support"],
        "created_at": CREATED,
        "updated_at": CREATED,
        "llm_config": {"model": "gpt-4o-mini", "model_endpoint_type": "openai", "context_window": 32000},
        "memory": {
            "blocks": [
                {"id": f"block-{agent_id[6:]}", "label": label, "value": "I know things. " * 10, "limit": 5000}
                for label in ("persona", "human")
            ]
        },
        "tools": [
            {"id": f"tool-{agent_id[6:]}", "name": name, "description": "x" * 80} for name in ("send_message", "search")
        ],
    }


def _messages(agent_id: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"message-{number:08d}-{agent_id[15:]}",
            "date": f"2026-01-01T00:00:{number:02d}Z",
            "message_type": "assistant_message" if number % 2 else "user_message",
            "content": f"message {number} of {agent_id}: " + "lorem ipsum dolor " * 6,
            "otid": None,
            "sender_id": None,
            "step_id": f"step-{number // 2:08d}-{agent_id[15:]}",
            "run_id": f"run-{number // 2:08d}-{agent_id[15:]}",
        }
        for number in range(MESSAGES)
    ]


def agent_ids() -> list[str]:
    """Return the ids of every user's agents."""
    return [f"agent-{number:08d}-0000-4000-8000-000000000000" for number in range(AGENTS)]


def _static() -> dict[bytes, bytes]:
    """Return prepared answers by path."""
    agents = [
        {
            "agent_id": one,
            "template_id": "support-bot",
            "version": "1.2.0",
            "created_at": CREATED,
            "updated_at": CREATED,
        }
        for one in agent_ids()
    ]
    me = {
        "id": ADA,
        "email": "ada@example.com",
        "name": "Ada",
        "litellm_key": "sk-bench",
        "letta_agent_id": agent_ids()[0],
        "agent_status": "registered",
        "created_at": CREATED,
        "updated_at": CREATED,
        "profile_exists": True,
        "agents": agents,
    }
    models = {"object": "list", "data": [{"id": "n1-d0", "object": "model", "created": 1, "owned_by": "bench"}]}
    found: dict[bytes, object] = {
        b"/auth/v1/.well-known/jwks.json": {"keys": [devtokens.signing_key().jwk]},
        b"/ams/me": me,
        b"/ams/health": {"status": "ok", "checks": {}},
        b"/litellm/v1/models": models,
        b"/letta/v1/agents": [_agent(one) for one in agent_ids()],
        b"/letta/v1/conversations/default/messages": _messages(agent_ids()[0]),
    }
    found |= {f"/letta/v1/agents/{one}".encode(): _agent(one) for one in agent_ids()}
    return {path: _answer(value) for path, value in found.items()}


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


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Connection(asyncio.Protocol):
    """A connection of the gateway, with one request at a time."""

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
            self._serve(head, asked)

    def _serve(self, head: bytes, asked: bytes) -> None:
        assert self._transport is not None
        method, target, _ = head.split(b" ", 2)
        if method == b"GET":
            if target.startswith(b"/auth/") and self._is_stuck():
                return
            self._transport.write(self.static.get(target.partition(b"?")[0].rstrip(b"/"), _MISSING))
            return
        body = orjson.loads(asked)
        model = str(body.get("model", "n20-d0"))
        found = _MODEL.search(model)
        tokens, pause = (int(found[1]), float(found[2]) / 1000) if found else (20, 0.0)
        if body.get("stream"):
            self._streaming = asyncio.ensure_future(self._stream(model, tokens, pause))
        elif pause:
            asyncio.get_running_loop().call_later(pause, self._transport.write, _completion(model, tokens))
        else:
            self._transport.write(_completion(model, tokens))

    @classmethod
    def _is_stuck(cls) -> bool:
        """Return whether the issuer never answers: it publishes its keys once."""
        cls.key_sets += 1
        return cls.key_sets > 1

    async def _stream(self, model: str, tokens: int, pause: float) -> None:
        assert self._transport is not None
        write, loop = self._transport.write, asyncio.get_running_loop()
        write(_STREAM)
        due = loop.time()
        for number in range(tokens):
            write(_chunked(_chunk(model, {"content": f"tok{number} "}, None)))
            due += pause
            await asyncio.sleep(max(0.0, due - loop.time()))
        write(_chunked(_chunk(model, {}, "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def serve() -> None:
    """Serve on a free port, printed as the first line of the output, until the process is stopped."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
