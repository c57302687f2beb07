"""Sends a message to an agent, and answers with the turn in a format of OpenAI's (decision 0085)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from app.asgi import begin, header, respond, unless_disconnected, write
from app.audit import Trail
from app.departure import Departure
from app.gateway import Gateway
from app.heartbeat import HeartbeatWriter
from app.rest.agents.named import CONVERSATION
from app.rest.agents.pieces import Piece, Pieces, failure_in
from app.rest.detached import detached_error
from app.rest.envelope import JSON
from app.rest.idempotency import check_stream
from app.signin.lifetime import WhileSignedIn
from clients.codes import Reason
from clients.errors import Conflict, GatewayError
from resolvers import starts, turns
from resolvers.context import RequestContext
from resolvers.owned import OwnedConversation, ref_of
from resolvers.streams.events import Ended, Event, OnDisconnect, StreamStatus
from resolvers.streams.log import Leave, StreamLog
from resolvers.streams.merging import MAX_FRAME_BYTES
from resolvers.streams.stream import Stream

_KEYLESS = "agent:"
"""The prefix of the stream keys of requests without an ``Idempotency-Key``."""

_RETRIES = b"x-stainless-retry-count"
"""The header in which OpenAI's SDKs count the retries that they make by themselves."""

_RETRY_SECONDS = 60.0
"""How long after the end of a turn an SDK may retry, in seconds. The SDKs wait at most this long before a retry."""


class Translation(Protocol):
    """Writes a turn as a stream of server-sent events.

    Attributes:
        pieces: the texts that were written.
    """

    pieces: Pieces

    def of(self, event: Event) -> bytes:
        """Return the server-sent events for an event of the turn. The result may be empty."""

    def completed(self, ended: Ended) -> bytes:
        """Return the server-sent events that end a complete answer."""

    def failed(self, error: GatewayError) -> bytes:
        """Return the server-sent event that ends a failed answer."""


Whole = Callable[[Stream, list[Piece], Ended], bytes]
"""Writes a complete answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to send to an agent.

    Attributes:
        content: the message in Letta's format.
        key: the request's idempotency key, from ``key_of``; ``None`` if the client has sent none.
        counted: whether the request was counted against the rate limit for model calls.
    """

    conversation: OwnedConversation
    content: list[dict[str, Any]]
    key: str | None
    counted: bool


class AgentTurn:
    """Answers one request with an agent's turn."""

    def __init__(self, gateway: Gateway, context: RequestContext, trail: Trail, message: Message) -> None:
        self._gateway = gateway
        self._context = context
        self._trail = trail
        self._message = message
        self._conversation = ref_of(message.conversation)

    async def whole(self, scope: Scope, receive: Receive, send: Send, write_whole: Whole) -> None:
        """Answer with the complete answer. If the client disconnects, the turn continues, so that a retry attaches.

        Raises:
            GatewayError: Letta refused the message, or the turn has failed.
            Conflict: reason ``APPROVAL_PENDING``, if the turn has ended with an approval request.
        """
        with self._repeatable(scope):
            stream, body = await unless_disconnected(receive, self._answer(scope, write_whole))
        await respond(send, 200, body, JSON, self._headers(stream))
        stream.answered = True

    async def _answer(self, scope: Scope, write_whole: Whole) -> tuple[Stream, bytes]:
        async with await self._start(scope, OnDisconnect.CONTINUE) as stream:
            self._succeeded(stream)
            ended = await stream.log.end()
            self._context.refresh()
            stream.opened.result()
            pieces = Pieces()
            texts = pieces.all(await stream.log.joined_events())
            if (failure := failure_in(ended, pieces.approval_id)) is not None:
                raise failure
            return stream, write_whole(stream, texts, ended)

    async def stream(
        self, scope: Scope, receive: Receive, send: Send, translation: Callable[[Stream], Translation]
    ) -> None:
        """Answer with server-sent events.

        When the last reader has disconnected in mid-stream, the run is cancelled, unless the client that has started
        the turn has sent ``X-Stream-Continue: true``. Raises GatewayError if Letta refuses the message at once.
        """
        continues = header(scope, b"x-stream-continue") == "true"
        on_disconnect = OnDisconnect.CONTINUE if continues else OnDisconnect.CANCEL
        leave, drain = Leave(), self._gateway.drain

        async def relay() -> None:
            async with await self._start(scope, on_disconnect) as stream:
                self._succeeded(stream)
                await begin(send, "text/event-stream; charset=utf-8", self._headers(stream))
                stream.answered = True
                self._context.reset_loaders()
                await _copy(
                    send,
                    stream.log,
                    self._gateway.heartbeat,
                    leave,
                    translation(stream),
                    partial(detached_error, self._gateway, self._context.principal),
                )

        signed_in = WhileSignedIn(self._context.principal, leave, self._context.resources)
        with self._repeatable(scope), drain.stream(), Departure(drain, leave), signed_in:
            await unless_disconnected(receive, relay())

    async def _start(self, scope: Scope, on_disconnect: OnDisconnect) -> AbstractAsyncContextManager[Stream]:
        context, message = self._context, self._message
        await check_stream(context, message.key)
        key = message.key or await self._retried_key(scope) or f"{_KEYLESS}{uuid.uuid4()}"
        charged = await starts.charge_turn(context, key, counted=message.counted)
        return turns.start_turn(
            context,
            self._conversation,
            message.content,
            key,
            on_disconnect=on_disconnect,
            charged=charged,
            cancels=on_disconnect is OnDisconnect.CANCEL,
        )

    async def _retried_key(self, scope: Scope) -> str | None:
        """Return the key of the earlier attempt that OpenAI's SDK now retries by itself, without an idempotency key."""
        if header(scope, _RETRIES) in {None, "0"}:
            return None
        sent, streams = turns.message_print(self._conversation, self._message.content), self._context.resources.streams
        since = datetime.now(UTC) + timedelta(seconds=streams.limits.retention - _RETRY_SECONDS)
        for stream in reversed(await streams.found(self._context.owner)):
            is_keyless = stream.key is not None and stream.key.startswith(_KEYLESS)
            if is_keyless and stream.fingerprint == sent and _lacks_answer(stream, since):
                return stream.key
        return None

    @contextmanager
    def _repeatable(self, scope: Scope) -> Iterator[None]:
        """Let a client retry after an unknown outcome, if the retry attaches to the turn."""
        try:
            yield
        except Conflict as error:
            attaches = self._message.key is not None or header(scope, _RETRIES) is not None
            if error.reason is not Reason.OUTCOME_UNKNOWN or not attaches:
                raise
            repeatable = error.copy()
            repeatable.retryable = True
            raise repeatable from error

    def _succeeded(self, stream: Stream) -> None:
        self._trail.succeeded({"streamId": stream.id}, replayed=stream.is_repeated_by(self._context))

    def _headers(self, stream: Stream) -> dict[str, str]:
        return {"x-stream-id": stream.id, CONVERSATION: self._message.conversation.id}


def _lacks_answer(stream: Stream, since: datetime) -> bool:
    """Return whether a turn may have an answer that no client of ``/v1`` has begun to receive.

    A turn that has definitely failed has none. An answer of which the client has learned is not requested again. A
    complete answer expires after ``since``, unless it is too old for a retry.
    """
    if stream.answered:
        return False
    if stream.status is StreamStatus.COMPLETED:
        return stream.expires_at is None or stream.expires_at > since
    return stream.status is StreamStatus.RUNNING or stream.abandoned or stream.unsure


async def _copy(
    send: Send,
    log: StreamLog,
    heartbeat: float,
    leave: Leave,
    translation: Translation,
    cut: Callable[[Leave], GatewayError],
) -> None:
    """Send a turn's events, with comments as heartbeats, until the turn ends or ``leave`` detaches the reader.

    A detached reader gets the error of ``cut``.
    """
    with log.reading(0) as reader:
        async with HeartbeatWriter(partial(write, send), heartbeat, b": ping\n\n") as body:
            ended: Ended | None = None
            while ended is None and (leave.reason is None or reader.position < log.length):
                await log.more(reader.position, leave)
                batch = await log.after(reader.position)
                log.moved(reader, reader.position + len(batch))
                waiting = b""
                for entry in batch:
                    if isinstance(entry.event, Ended):
                        ended = entry.event
                        break
                    waiting += translation.of(entry.event)
                    if len(waiting) >= MAX_FRAME_BYTES:
                        await body.write(waiting)
                        waiting = b""
                if waiting:
                    await body.write(waiting)
        last = translation.failed(cut(leave)) if ended is None else _end(ended, translation)
        await write(send, last, more=False)


def _end(ended: Ended, translation: Translation) -> bytes:
    failure = failure_in(ended, translation.pieces.approval_id)
    return translation.completed(ended) if failure is None else translation.failed(failure)
