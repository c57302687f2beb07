"""The relay from REST to LiteLLM: the request is checked, and the answer's bytes are passed on as they arrive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from app.asgi import begin, header, parse_object, respond, unless_left, write
from app.drain import stream_cut
from app.gateway import Gateway
from app.heartbeat import Beating
from app.rest.envelope import JSON, error_event, failure_event
from app.rest.idempotency import check_stream, counted_start, key_of, once
from app.rest.requests import Chat, Embeddings, check
from app.rest.table import Row, Work
from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.litellm import ModelAnswer
from clients.origin import Origin
from resolvers import starts
from resolvers.completing import MAY_BE_PAID, REQUEST_COPIES, naming, payable
from resolvers.context import RequestContext
from resolvers.doubt import Doubt
from resolvers.idempotency import fingerprint
from resolvers.sources.completions import CompletionSource
from resolvers.streams.events import Entry, OnDisconnect
from resolvers.streams.log import Leave, StreamLog
from resolvers.streams.merging import MAX_FRAME_BYTES
from resolvers.streams.stream import StreamRequest
from resolvers.vetting import Vetted

_ID_LINE = re.compile(rb"(?:\A|[\r\n])id:")


class Relay:
    """Answers one request that is signed in. ``counted`` says whether it was counted as model work."""

    def __init__(self, gateway: Gateway, row: Row, context: RequestContext, *, counted: bool) -> None:
        self._counted = counted
        self._gateway = gateway
        self._row = row
        self._context = context
        self._litellm = context.resources.litellm

    async def answer(self, scope: Scope, receive: Receive, send: Send, *, model: str | None) -> None:
        """Answer the request. ``model`` is the one in the path. Raises GatewayError or ClientLeft."""
        if self._row.work is Work.MODELS:
            await respond(send, 200, await self._models(model), JSON)
            return
        if self._row.work is Work.NO_MODELS:
            await respond(send, 200, b'{"object":"list","data":[]}', JSON)
            return
        raw = await self._gateway.body(scope, receive, origin=self._context.origin)
        body = parse_object(raw)
        work = _by_body(body) if self._row.work is Work.BY_BODY else self._row.work
        asked = check(body, Embeddings if work is Work.EMBEDDINGS else Chat)
        once_key = key_of(scope, self._row)
        scope["state"]["slot"].lengthen()
        pays = await self._context.access.model_key()
        if work is Work.CHAT and body.get("stream") is True:
            del raw, body
            await self._stream(pays, asked, once_key, scope, receive, send)
            return
        named = naming(self._context, asked, pays)
        sent = raw if named is body else msgspec.json.encode(named)
        act = partial(self._asked, work, pays, sent)
        digest = "" if once_key is None else fingerprint(self._row.path, asked)
        asked.clear()
        del raw, body, named, sent  # what waits for a model is kept in one form
        if once_key is None:
            answer = await unless_left(receive, act())
        else:
            doubt = Doubt(message=MAY_BE_PAID) if work is Work.CHAT else None
            work_once = once(self._context, once_key, digest, act, counted=self._counted, doubt=doubt)
            answer = await unless_left(receive, work_once)
        await respond(send, 200, answer.body, JSON, answer.headers)

    async def _asked(self, work: Work, pays: str, sent: bytes) -> ModelAnswer:
        """A whole answer, metered."""
        ask = self._litellm.embeddings if work is Work.EMBEDDINGS else self._litellm.complete
        answer = await ask(self._context.model_scope(), pays, sent)
        if (usage := answer.usage) is not None:
            kind = "embedding" if work is Work.EMBEDDINGS else "completion"
            kind = "proxied" if self._context.origin is Origin.LETTA else kind
            self._context.resources.metrics.tokens_used(kind, usage.prompt_tokens, usage.completion_tokens)
        return answer

    async def _models(self, name: str | None) -> bytes:
        key = await self._context.access.model_key()
        if name is None:
            return await self._litellm.openai_models(self._context.scope, key)
        model = await self._litellm.openai_model(self._context.scope, key, name)
        if model is None:
            raise NotFound("The model does not exist.", reason=Reason.MODEL_NOT_FOUND)
        return model

    async def _stream(
        self, pays: str, body: Vetted, once_key: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        wants_usage = (body.get("stream_options") or {}).get("include_usage") is True
        request = msgspec.json.encode(payable(self._context, body, pays))
        by_letta = self._context.origin is Origin.LETTA
        stays = not by_letta and header(scope, b"x-stream-continue") == "true"
        source = CompletionSource(self._context, pays, request, wants_usage=wants_usage)
        request_bytes, digest = REQUEST_COPIES * len(request), fingerprint(self._row.path, body)
        body.clear()  # a stream keeps its request in one form, until it is sent
        del request
        leave, drain = Leave(), self._gateway.drain

        async def relay() -> None:
            self._counted = await counted_start(self._context, once_key, counted=self._counted)
            check_stream(self._context, once_key)
            stream_request = StreamRequest(
                owner=self._context.owner,
                kind="proxied" if by_letta else "completion",
                source=lambda: source,
                on_disconnect=OnDisconnect.CONTINUE if stays else OnDisconnect.CANCEL,
                key=once_key,
                fingerprint=digest,
                restarts=True,
                starter=self._context,
                on_reuse=starts.refund(self._context) if self._counted and not by_letta else None,
                unknown=None if once_key is None else MAY_BE_PAID,
                retained=not by_letta,
                request_bytes=request_bytes,
            )
            async with self._context.resources.streams.start(stream_request) as stream:
                del stream_request  # it keeps what is sent
                named = {} if by_letta else {"x-stream-id": stream.id}
                with stream.log.reading(0):  # upstream bytes are kept until they are read
                    stream.drop_raw_taken()
                    await begin(send, "text/event-stream; charset=utf-8", {**named, **stream.headers})
                self._context.forget()
                await _copy(send, stream.log, self._gateway.heartbeat, leave)

        with drain.stream(), drain.leaving(leave):
            await unless_left(receive, relay())


def _by_body(body: dict[str, Any]) -> Work:
    if "messages" in body:
        return Work.CHAT
    if "input" in body:
        return Work.EMBEDDINGS
    raise BadUserInput(
        "Give `messages` for a chat completion, or `input` for embeddings.",
        reason=Reason.REQUEST,
    )


async def _copy(send: Send, log: StreamLog, heartbeat: float, leave: Leave) -> None:
    """Send each upstream event's bytes as they arrived, and a comment after a heartbeat interval without any.

    A reader that ``leave`` detaches gets an error event, and no ``[DONE]``.
    """
    with log.reading(0) as reader:
        async with Beating(partial(write, send), heartbeat, b": ping\n\n") as body:
            while True:
                await log.more(reader.position, leave)
                batch = await log.after(reader.position)
                log.moved(reader, reader.position + len(batch))
                for chunk in chunks_of(batch):
                    await body.write(chunk)
                if any(b"id:" in entry.raw and _ID_LINE.search(entry.raw) for entry in batch):
                    # openai-python takes a blank line after an id for an event without data
                    body.heartbeat = b": ping\n"
                ended = log.ended if batch and batch[-1].event is log.ended else None
                if ended is not None or leave.reason is not None:
                    break
        await write(send, error_event(stream_cut()) if ended is None else failure_event(ended), more=False)


def chunks_of(batch: list[Entry]) -> Iterator[bytes]:
    """Yield the bytes of events in chunks of ``MAX_FRAME_BYTES`` at most: a slow reader holds no more than one."""
    waiting: list[bytes] = []
    size = 0
    for entry in batch:
        if size + len(entry.raw) > MAX_FRAME_BYTES and waiting:
            yield b"".join(waiting)
            waiting, size = [], 0
        if len(entry.raw) > MAX_FRAME_BYTES:
            yield from (entry.raw[at : at + MAX_FRAME_BYTES] for at in range(0, len(entry.raw), MAX_FRAME_BYTES))
        elif entry.raw:
            waiting.append(entry.raw)
            size += len(entry.raw)
    if waiting:
        yield b"".join(waiting)
