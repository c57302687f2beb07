"""Checks REST requests, forwards them to LiteLLM, and forwards LiteLLM's answers.

The bytes of an answer are forwarded as they arrive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from app.asgi import begin, header, parse_object, respond, unless_disconnected, write
from app.audit import Act, Event, Trail
from app.departure import Departure
from app.gateway import Gateway
from app.heartbeat import HeartbeatWriter
from app.rest.agents.models import agent_model, agent_models
from app.rest.agents.relay import AgentRelay, agent_relay
from app.rest.agents.response_ids import agent_response
from app.rest.agents.stored import agent_response_again
from app.rest.detached import detached_error
from app.rest.ends import StreamEnd
from app.rest.envelope import JSON, failure_of
from app.rest.exchanges import ChatExchange, EmbeddingsExchange, Exchange, ResponseExchange, StreamedExchange
from app.rest.idempotency import check_stream, counted_start, key_of, keyed_answer
from app.rest.requests import Chat, Embeddings, check
from app.rest.response_requests import Responses
from app.rest.stored import checked_params, stored_answer
from app.rest.table import STORED, Row, Work
from app.signin.lifetime import WhileSignedIn
from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, NotFound
from clients.litellm import ModelAnswer
from clients.origin import Origin
from resolvers import starts
from resolvers.completing import REQUEST_COPIES, naming
from resolvers.context import RequestContext
from resolvers.idempotency import fingerprint
from resolvers.outcome_unknown import OutcomeUnknown
from resolvers.responding import ResponseCall
from resolvers.sources.completions import MAY_BE_PAID, headers_for_user
from resolvers.streams.events import Entry, OnDisconnect
from resolvers.streams.log import Leave, StreamLog
from resolvers.streams.merging import MAX_FRAME_BYTES
from resolvers.streams.stream import StreamRequest
from resolvers.tokens import Need
from resolvers.vetting import Vetted

_ID_LINE = re.compile(rb"(?:\A|[\r\n])id:")


_SHAPES: dict[Work, type[Chat | Embeddings | Responses]] = {
    Work.CHAT: Chat,
    Work.EMBEDDINGS: Embeddings,
    Work.RESPONSES: Responses,
}


class Relay:
    """Answers an authenticated REST request.

    ``counted`` is whether the request was counted against the rate limit for model calls. ``answer`` is called in the
    context of ``trail``, which logs the model call.
    """

    def __init__(self, gateway: Gateway, row: Row, context: RequestContext, *, counted: bool) -> None:
        self._counted = counted
        self._has_called = False
        self.trail = Trail(gateway.telemetry.audit, context)
        self._gateway = gateway
        self._row = row
        self._context = context
        self._litellm = context.resources.litellm

    async def answer(self, scope: Scope, receive: Receive, send: Send, names: dict[str, str]) -> None:
        """Answer the request. ``names`` are the names from the URL. Raise GatewayError or Disconnected on failure."""
        if self._row.work is Work.MODELS:
            await respond(send, 200, await self._models(names.get("model")), JSON)
            return
        if self._row.work in STORED:
            await respond(send, 200, await self._stored(scope, names["response_id"]), JSON)
            return
        if self._row.work is Work.NO_MODELS:
            await respond(send, 200, b'{"object":"list","data":[]}', JSON)
            return
        raw = await self._gateway.body(scope, receive, origin=self._context.origin)
        self._gateway.authenticator.check(self._context.principal)  # the body may have taken long
        body = parse_object(raw)
        work = _by_body(body) if self._row.work is Work.BY_BODY else self._row.work
        vetted = check(body, _SHAPES[work])
        key = key_of(scope, self._row)
        scope["state"]["slot"].lengthen()
        self.trail.begin(Act(Event.MODEL_CALL, self._row.path, {"model": vetted["model"]}))
        if work is not Work.EMBEDDINGS and (agent := await self._agent(vetted["model"])) is not None:
            del raw, body
            await agent.answer(work, vetted, key, scope, receive, send)
            return
        exchange = await self._exchange(work, vetted)
        if isinstance(exchange, StreamedExchange) and body.get("stream") is True:
            del raw, body
            await self._stream(exchange, vetted, key, scope, receive, send)
            return
        named = naming(self._context, vetted, exchange.key)
        request = raw if named is body else msgspec.json.encode(named)
        need = starts.need(self._context, vetted, exchange.estimate)
        act = partial(self._call, exchange, request, need)
        digest = "" if key is None else fingerprint(self._row.path, vetted)
        vetted.clear()
        del raw, body, named, request  # only the encoded request stays in memory while the model works
        if key is None:
            answer = await unless_disconnected(receive, act())
        else:
            on_unknown = OutcomeUnknown(message=MAY_BE_PAID) if exchange.is_charged else None
            keyed = keyed_answer(self._context, key, digest, act, counted=self._counted, on_unknown=on_unknown)
            answer = await unless_disconnected(receive, keyed)
        self.trail.succeeded({}, replayed=not self._has_called)
        await respond(send, 200, answer.body, JSON, answer.headers)

    async def _agent(self, model: str) -> AgentRelay | None:
        return await agent_relay(self._gateway, self._context, self.trail, model, counted=self._counted)

    async def _exchange(self, work: Work, body: Vetted) -> Exchange:
        key, model = await self._context.model_key(), body["model"]
        if work is Work.RESPONSES:
            call = ResponseCall(self._context, key, model, body.get("previous_response_id"))
            return ResponseExchange(self._context, key, model, call)
        if work is Work.EMBEDDINGS:
            return EmbeddingsExchange(self._context, key, model)
        return ChatExchange(self._context, key, model)

    async def _call(self, exchange: Exchange, request: bytes, need: Need) -> ModelAnswer:
        self._has_called = True
        async with starts.Spent(self._context, need) as spent:
            answer = await exchange.create(request)
            spent.usage = answer.usage
        if (usage := answer.usage) is not None:
            kind = "proxied" if self._context.origin is Origin.LETTA else exchange.kind
            self._context.resources.metrics.tokens_used(kind, usage.prompt_tokens, usage.completion_tokens)
        headers = headers_for_user(self._context, exchange.key, answer.headers)
        return answer if headers is answer.headers else msgspec.structs.replace(answer, headers=headers)

    async def _stored(self, scope: Scope, response_id: str) -> bytes:
        work = self._row.work
        if (named := agent_response(response_id)) is not None:
            checked_params(work, scope)
            return await agent_response_again(self._context, work, named)
        if work is Work.DELETE_RESPONSE:
            self.trail.begin(Act(Event.MUTATION, self._row.path))
        answer = await stored_answer(self._context, work, scope, response_id)
        if work is Work.DELETE_RESPONSE:
            self.trail.succeeded({})
        return answer

    async def _models(self, name: str | None) -> bytes:
        if name is not None and (agent := await agent_model(self._context, name)) is not None:
            return agent
        key = await self._context.model_key()
        if name is None:
            agents = await agent_models(self._context)
            return await self._litellm.openai_models(self._context.scope, key, more=agents)
        model = await self._litellm.openai_model(self._context.scope, key, name)
        if model is None:
            raise NotFound(
                "The model does not exist. Choose a model from the list of models.", reason=Reason.MODEL_NOT_FOUND
            )
        return model

    async def _stream(
        self,
        exchange: StreamedExchange,
        body: Vetted,
        key: str | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        by_letta = self._context.origin is Origin.LETTA
        continues = not by_letta and header(scope, b"x-stream-continue") == "true"
        source, size = exchange.source(body, starts.need(self._context, body, exchange.estimate))
        digest, end = fingerprint(self._row.path, body), exchange.end()
        body.clear()  # only the encoded request stays in memory, for the bill of a cut-off answer
        leave, drain = Leave(), self._gateway.drain

        async def relay() -> None:
            self._counted = await counted_start(self._context, key, counted=self._counted)
            await check_stream(self._context, key)
            stream_request = StreamRequest(
                owner=self._context.owner,
                kind="proxied" if by_letta else "completion",
                source=lambda _: source,
                on_disconnect=OnDisconnect.CONTINUE if continues else OnDisconnect.CANCEL,
                key=key,
                fingerprint=digest,
                restarts=True,
                starter=self._context,
                on_reuse=starts.refund(self._context) if self._counted and not by_letta else None,
                unknown=None if key is None else MAY_BE_PAID,
                retained=not by_letta,
                request_bytes=REQUEST_COPIES * size,
            )
            async with self._context.resources.streams.start(stream_request) as stream:
                del stream_request  # otherwise, the request would stay in memory
                self.trail.succeeded({"streamId": stream.id}, replayed=stream.is_repeated_by(self._context))
                headers = {} if by_letta else {"x-stream-id": stream.id}
                with stream.log.reading(0):  # a reader keeps upstream bytes in memory
                    stream.drop_raw_taken()
                    await begin(send, "text/event-stream; charset=utf-8", {**headers, **stream.headers})
                self._context.reset_loaders()
                cut = partial(detached_error, self._gateway, self._context.principal)
                await _copy(send, stream.log, self._gateway.heartbeat, leave, end, cut)

        signed_in = WhileSignedIn(self._context.principal, leave, self._context.resources)
        with drain.stream(), Departure(drain, leave), signed_in:
            await unless_disconnected(receive, relay())


def _by_body(body: dict[str, Any]) -> Work:
    if "messages" in body:
        return Work.CHAT
    if "input" in body:
        return Work.EMBEDDINGS
    raise BadUserInput(
        "The request body has neither `messages` (for chat completions) nor `input` (for embeddings). Add one field.",
        reason=Reason.REQUEST,
    )


async def _copy(
    send: Send,
    log: StreamLog,
    heartbeat: float,
    leave: Leave,
    end: StreamEnd,
    cut: Callable[[Leave], GatewayError],
) -> None:
    """Send the bytes of upstream events, and send comments as heartbeats.

    If the stream fails, ``end`` writes the last event. If ``leave`` detaches the reader, the event has the error of
    ``cut``.
    """
    with log.reading(0) as reader:
        async with HeartbeatWriter(partial(write, send), heartbeat, b": ping\n\n") as body:
            while True:
                await log.more(reader.position, leave)
                batch = await log.after(reader.position)
                end.sent(batch)
                log.moved(reader, reader.position + len(batch))
                for chunk in chunks_of(batch):
                    await body.write(chunk)
                for entry in batch:
                    if b"id:" in entry.raw and _ID_LINE.search(entry.raw):
                        # openai-python reads a blank line after an id as an event without data
                        body.heartbeat = b": ping\n"
                ended = log.ended if batch and batch[-1].event is log.ended else None
                if ended is not None or leave.reason is not None:
                    break
        error = cut(leave) if ended is None else failure_of(ended)
        await write(send, b"" if error is None else end.failure(error), more=False)


def chunks_of(batch: list[Entry]) -> Iterable[bytes]:
    """Return the bytes of stream events in chunks of at most ``MAX_FRAME_BYTES`` bytes."""
    if len(batch) == 1 and 0 < len(batch[0].raw) <= MAX_FRAME_BYTES:  # most batches are one event
        return (batch[0].raw,)
    return _chunks_of(batch)


def _chunks_of(batch: list[Entry]) -> Iterator[bytes]:
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
