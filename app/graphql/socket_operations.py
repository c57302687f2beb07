"""Runs the operations of one WebSocket. Each operation has its own task and context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import orjson
from graphql import OperationType
from starlette.types import Scope

from app.asgi import Disconnected, traceparent_of
from app.drain import refusal
from app.gateway import Gateway
from app.graphql.errors import INTERNAL_MESSAGE, RequestError
from app.graphql.http import parse_request
from app.graphql.results import Refused, Result
from app.graphql.socket_sender import SocketSender
from app.identity import sender_of
from app.shares import RETRY_SECONDS
from app.slots import Slot
from app.sockets import Sockets
from clients.codes import Reason
from clients.errors import GatewayError, Overloaded, RateLimited
from clients.origin import Endpoint, Owner
from resolvers.limits import LimitKind
from resolvers.principal import Principal
from resolvers.streams.log import Leave

MAX_OPERATIONS = 100
"""Maximum number of concurrent operations of one socket."""

SMALL_BYTES = 128 * 1024
"""Maximum size of a small result, in bytes. Larger unread results count against the user's limit."""


class SocketOperations:
    """Runs the operations of one WebSocket.

    Args:
        scope: the WebSocket.
        leave: detaches the readers of streams.
        on_idle: called when no operation is running any longer.
    """

    __slots__ = ("_gateway", "_leave", "_on_idle", "_running", "_scope", "_sender", "_sockets")

    def __init__(
        self,
        gateway: Gateway,
        sockets: Sockets,
        scope: Scope,
        sender: SocketSender,
        leave: Leave,
        on_idle: Callable[[], None],
    ) -> None:
        self._gateway = gateway
        self._sockets = sockets
        self._scope = scope
        self._sender = sender
        self._leave = leave
        self._on_idle = on_idle
        self._running: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, operation_id: str) -> bool:
        return operation_id in self._running

    async def start(
        self, operation_id: str, principal: Principal, payload: dict[str, Any], size: int, error: GatewayError | None
    ) -> None:
        """Start an operation, or send the error with which the operation is refused.

        Refusals are sent here, not in a task, so that reading stops if the client does not read refusals.

        Args:
            operation_id: the client's id of the operation.
            principal: the user.
            payload: the GraphQL request.
            size: the size of the message.
            error: an error with which the operation is refused, unless there is another error.
        """
        if not self._gateway.drain.is_open:
            await self.fail(operation_id, refusal())
        elif error is not None:
            await self.fail(operation_id, error)
        elif len(self._running) >= MAX_OPERATIONS:
            message = f"The WebSocket already runs {MAX_OPERATIONS} operations. Complete an operation first."
            await self.fail(
                operation_id, RateLimited(message, reason=Reason.OPERATIONS, retry_after_seconds=RETRY_SECONDS)
            )
        elif (slot := await self._slot(operation_id, principal, size)) is not None:
            task = asyncio.create_task(self._operate(operation_id, principal, payload, slot))
            self._running[operation_id] = task
            task.add_done_callback(partial(self._done, operation_id, slot))

    def cancel(self, operation_id: str) -> None:
        """Cancel an operation that the client has completed. Do nothing if the operation has ended."""
        if task := self._running.pop(operation_id, None):
            task.cancel()

    async def interrupt(self, error: GatewayError) -> None:
        """Cancel all operations. Each operation's client receives the error."""
        for operation_id, task in list(self._running.items()):
            task.cancel()
            await asyncio.wait([task])
            await self.fail(operation_id, error)

    def close(self) -> None:
        """Break a reference cycle, because the WebSocket is closed. ``on_idle`` is not called any longer."""
        self._on_idle = _nothing

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the tasks of the running operations."""
        return list(self._running.values())

    async def fail(self, operation_id: str, error: GatewayError | RequestError) -> None:
        """Send an operation's error."""
        self._gateway.telemetry.audit.refused(error, sender_of(self._scope))
        errors = Refused.by(error, self._request_id).errors
        await self._sender.message({"id": operation_id, "type": "error", "payload": errors})

    @property
    def _request_id(self) -> str:
        return str(self._scope["state"]["request_id"])

    async def _slot(self, operation_id: str, principal: Principal, size: int) -> Slot | None:
        slot = None
        try:
            versions = await self._gateway.resources.limits.count(principal.user_id, LimitKind.GENERAL, tags=True)
            slot = self._gateway.slots.take(Owner(principal.user_id), versions)
            slot.hold_body(size)
        except (RateLimited, Overloaded) as error:
            if slot is not None:
                slot.leave()
            await self.fail(operation_id, error)
            return None
        return slot

    def _done(self, operation_id: str, slot: Slot, task: asyncio.Task[None]) -> None:
        slot.leave()
        if not task.cancelled():
            task.exception()  # asyncio logs an unretrieved exception, such as a disconnect during a refusal
        if self._running.get(operation_id) is task:
            del self._running[operation_id]
        self._leave.changed()
        if not self._running:
            self._on_idle()

    async def _operate(self, operation_id: str, principal: Principal, payload: dict[str, Any], slot: Slot) -> None:
        try:
            await slot.enter()
            with self._gateway.drain.request():
                kind, results = self._begun(principal, payload, slot)
                if kind is OperationType.SUBSCRIPTION:
                    slot.lengthen()
                    with self._gateway.drain.stream():
                        await self._send_results(operation_id, principal, results, slot)
                else:
                    await self._send_results(operation_id, principal, results, slot)
        except Disconnected:
            return
        except (GatewayError, RequestError) as error:
            await self.fail(operation_id, error)
        except Exception:  # the client must not wait forever
            self._gateway.telemetry.log.exception("internal error", request_id=self._request_id)
            await self.fail(operation_id, GatewayError(INTERNAL_MESSAGE))

    def _begun(
        self, principal: Principal, payload: dict[str, Any], slot: Slot
    ) -> tuple[OperationType, AsyncGenerator[Result, None]]:
        """Return an operation's kind and results. Raise GatewayError or RequestError if the request is refused."""
        request = parse_request(payload)
        operation = self._gateway.engine.documents.operation(request.query, request.operation_name)
        context = self._gateway.context(
            principal, self._request_id, traceparent_of(self._scope), self._leave, endpoint=Endpoint.WEBSOCKET
        )
        context.on_long, slot.calls, context.versions = slot.lengthen, context.calls, slot.versions
        results = self._gateway.engine.results(operation, request.variables, context, report_cost=request.report_cost)
        return operation.kind, results

    async def _send_results(
        self, operation_id: str, principal: Principal, results: AsyncGenerator[Result, None], slot: Slot
    ) -> None:
        begun, start = False, b'{"id":%b,"type":"next","payload":' % orjson.dumps(operation_id)
        text = self._sender.text
        try:
            async for result in results:
                if not begun and isinstance(result, Refused):
                    await self._sender.message({"id": operation_id, "type": "error", "payload": result.errors})
                    return
                begun = True
                message = start + orjson.dumps(result.body()) + b"}"
                slot.size += len(message)
                del result  # only the encoded message stays in memory until the client reads it
                if len(message) <= SMALL_BYTES:
                    await text(message)
                else:  # until a large result is sent, the result counts against the user's limit
                    with self._sockets.unread(principal.user_id, len(message)):
                        await text(message)
                del message
        finally:
            await results.aclose()
        await self._sender.message({"id": operation_id, "type": "complete"})


def _nothing() -> None:
    pass
