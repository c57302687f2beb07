"""The one relay between the REST door and LiteLLM: a checked request in, the answer's bytes on as they come."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from app.asgi import begin, header, parse_object, respond, unless_left, write
from app.doors import Doors
from app.drain import refusal
from app.rest.envelope import JSON, envelope
from app.rest.requests import Chat, Embeddings, check
from app.rest.table import Keys, Row, Work
from clients.errors import BadUserInput, NotFound
from clients.litellm import passed_headers
from resolvers.context import RequestContext
from resolvers.streams.completions import CompletionSource, with_counts
from resolvers.streams.events import Ended, OnDisconnect, StreamOutcome
from resolvers.streams.log import Leave, StreamLog
from resolvers.turns import naming, payable


class Relay:
    """Answers one request of somebody who has been let in."""

    def __init__(self, doors: Doors, row: Row, context: RequestContext) -> None:
        self._doors = doors
        self._row = row
        self._context = context
        self._litellm = context.resources.litellm

    async def answer(self, scope: Scope, receive: Receive, send: Send, *, model: str | None) -> None:
        """Answer it. ``model`` is the one named in the address. Raises GatewayError, ClientLeft."""
        if self._row.work is Work.MODELS:
            await respond(send, 200, await self._models(model), JSON)
            return
        if self._row.work is Work.NO_MODELS:
            await respond(send, 200, b'{"object":"list","data":[]}', JSON)
            return
        raw = await self._doors.body(scope, receive, from_letta=self._context.from_letta)
        body = parse_object(raw)
        work = _by_body(body) if self._row.work is Work.BY_BODY else self._row.work
        check(body, Embeddings if work is Work.EMBEDDINGS else Chat)
        key = await self._context.access.model_key()
        if work is Work.CHAT and body.get("stream") is True:
            await self._stream(key, body, scope, receive, send)
            return
        ask = self._litellm.embeddings if work is Work.EMBEDDINGS else self._litellm.complete
        named = naming(self._context, body, key)
        sent = raw if named is body else msgspec.json.encode(named)
        answer = await unless_left(receive, ask(self._context.model_scope(), key, sent))
        await respond(send, 200, with_counts(answer.body), JSON, passed_headers(answer.headers))

    async def _models(self, name: str | None) -> bytes:
        key = await self._context.access.model_key()
        answer = await self._litellm.openai_models(self._context.scope, key)
        if name is None:
            return answer.body
        for model in orjson.loads(answer.body)["data"]:
            if model["id"] == name:
                return orjson.dumps(model)
        raise NotFound("The model does not exist.", reason="MODEL_NOT_FOUND")

    async def _stream(self, key: str, body: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> None:
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        user_id, streams = self._context.principal.user_id, self._context.resources.streams
        request = payable(self._context, body, key)
        source = CompletionSource(self._context, key, msgspec.json.encode(request), wants_usage=wants_usage)
        for_user = self._row.keys is Keys.TOKEN
        stays = for_user and header(scope, b"x-stream-continue") == "true"
        attached = streams.started(
            user_id if for_user else f"{user_id} by Letta",  # the user's own streams do not count against it
            kind="completion" if for_user else "proxied",
            source=lambda: source,
            on_disconnect=OnDisconnect.CONTINUE if stays else OnDisconnect.CANCEL,
            kept=for_user,
        )

        leave, drain = Leave(), self._doors.drain

        async def relay() -> None:
            async with attached as stream:
                named = {"x-stream-id": stream.id} if for_user else {}
                await begin(send, "text/event-stream; charset=utf-8", {**named, **source.headers})
                await _copy(send, stream.log, self._doors.heartbeat, leave)

        with drain.stream(), drain.leaving(leave):
            await unless_left(receive, relay())


def _by_body(body: dict[str, Any]) -> Work:
    if "messages" in body:
        return Work.CHAT
    if "input" in body:
        return Work.EMBEDDINGS
    raise BadUserInput(
        "Send messages for a chat completion, or input for embeddings: this address takes either.", reason="REQUEST"
    )


async def _copy(send: Send, log: StreamLog, heartbeat: float, leave: Leave) -> None:
    """Each upstream event's bytes as they came, a comment when nothing comes for a heartbeat, to the end.

    A reader that ``leave`` detaches gets an error event, and no ``[DONE]``.
    """
    position = 0
    while True:
        try:
            async with asyncio.timeout(heartbeat):
                await log.more(position, leave)
        except TimeoutError:
            await write(send, b": ping\n\n")
            continue
        batch = log.entries[position:]
        position += len(batch)
        chunk = b"".join(entry.raw for entry in batch)
        if log.ended is not None and batch[-1].event is log.ended:
            await write(send, chunk + _failure(log.ended), more=False)
            return
        if leave.reason is not None:
            await write(send, chunk + b"data: " + orjson.dumps(envelope(refusal())) + b"\n\n", more=False)
            return
        if chunk:
            await write(send, chunk)


def _failure(ended: Ended) -> bytes:
    """What the end of a stream that did not complete looks like: one error event, and no ``[DONE]``."""
    if ended.outcome is StreamOutcome.COMPLETED:
        return b""
    code = ended.error.code.value if ended.error else "CANCELLED"
    message = ended.error.message if ended.error else "The stream was cancelled."
    error = {"message": message, "type": "upstream_error", "param": None, "code": code}
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"
