"""Connections that refuse requests without the cost of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.connection import Connection
from app.flags import Flag
from app.slots import Slot
from clients.errors import GatewayError


class Gate(Protocol):
    """Decides whether the application serves a request."""

    def decide(self, scope: Scope) -> Slot | GatewayError | None:
        """Return a slot, or the error with which the request is refused.

        Return ``None`` if the application has to decide. A slot may have to wait in the shedder's queue.
        """

    def refusal(
        self, scope: Scope, error: GatewayError, *, keep_alive: bool, fields: Sequence[tuple[bytes, bytes]]
    ) -> bytes:
        """Count a refusal, and return the bytes of its answer.

        Args:
            scope: the request.
            error: the reason.
            keep_alive: whether the connection stays open.
            fields: the server's own headers.
        """


REPEATED_BYTES = 4096
"""Maximum size of a refused request that the connection stores, to compare the client's next request with it."""


class Refused(NamedTuple):
    """A refused request that has arrived in one piece.

    Attributes:
        data: the bytes of the head and the body.
        scope: the parsed head.
        known: what the gate has stored in ``scope["state"]["known"]``.
    """

    data: bytes
    scope: dict[str, Any]
    body: bytes
    known: object


class GatedConnection(Connection):
    """An HTTP connection whose requests pass a gate before a task is started for them.

    A request that waits in the shedder's queue has no task either. A request that equals the refused request before it
    is not parsed again.

    Args:
        gate: ``None`` if the application admits requests itself.
        locate: sets a request's client address.
    """

    __slots__ = ("_app", "_data", "_gate", "_locate", "_parsed", "_refused", "_slot")

    def __init__(self, *args: Any, gate: Gate | None, locate: Callable[[Scope], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._gate = gate
        self._locate = locate
        self._app: Any = None
        self._slot: Slot | None = None
        self._data: bytes | None = None
        self._parsed: dict[str, Any] = {}
        self._refused: Refused | None = None

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of the current request. Do not parse a request that equals the last refused one."""
        refused, self._refused = self._refused, None
        is_first = self._gate is not None and self.awaits_request
        self._data = data if is_first and len(data) <= REPEATED_BYTES else None
        if refused is not None and self._gate is not None and self._data == refused.data:
            self._repeat(refused)
            self._pass(self._gate)
        else:
            super().data_received(data)

    def _repeat(self, refused: Refused) -> None:
        """Begin a request that equals an earlier one, without parsing it."""
        self._unset_keepalive_if_required()
        self.headers = list(refused.scope["headers"])
        state = {**self.app_state, "known": refused.known}
        self.scope = cast("Any", {**refused.scope, "headers": self.headers, "state": state})
        self.cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=cast("Any", Flag(is_set=True)),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        self.cycle.body, self.cycle.more_body = bytearray(refused.body), False
        self.await_answer()
        self._parsed, self._app = refused.scope, self.app

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start the request after the received bytes are parsed, since an unread body would close the connection."""
        if self._gate is None or self.flow.write_paused:
            self._data = None
            super()._start_asgi_task(cycle, app)
        else:
            self._app = app
            self._parsed = cast("dict[str, Any]", cycle.scope).copy()

    def _feed(self) -> None:
        super()._feed()
        if self._app is not None and self._gate is not None:
            self._pass(self._gate)

    def _pass(self, gate: Gate) -> None:
        if self.transport.is_closing():
            self._app = None
            return
        scope = cast("Scope", self.cycle.scope)
        self._locate(scope)
        decided = gate.decide(scope)
        if isinstance(decided, GatewayError):
            self._turn_away(gate, decided)
        elif decided is None or decided.waiting is None:
            self._start()
        else:
            self._slot, self._app, app = decided, None, self._app
            decided.waiting.add_done_callback(lambda _: self._on_decided(gate, app))

    def _on_decided(self, gate: Gate, app: Any) -> None:
        """Serve or refuse a request that has waited in the queue. If the client has disconnected, do nothing."""
        slot, self._slot = self._slot, None
        if slot is None:
            return
        self._app = app
        refused = slot.settle()
        if refused is None:
            self._start()
        else:
            slot.leave()
            self._turn_away(gate, refused)

    def _start(self) -> None:
        app, self._app = self._app, None
        self._clear()
        super()._start_asgi_task(self.cycle, app)

    def _clear(self) -> None:
        self._data, self._parsed = None, {}

    def _turn_away(self, gate: Gate, error: GatewayError) -> None:
        """Answer as ``RequestResponseCycle.send`` does."""
        self._app, cycle = None, self.cycle
        scope, fields = cast("Scope", cycle.scope), self.server_state.default_headers
        self.transport.write(gate.refusal(scope, error, keep_alive=cycle.keep_alive, fields=fields))
        if self._data is not None and cycle.keep_alive and not self._received.count:
            self._refused = Refused(self._data, self._parsed, bytes(cycle.body), scope["state"].get("known"))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response = _nothing  # breaks a reference cycle
        self.on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection's resources. Remove its request from the shedder's queue."""
        slot, self._slot, self._app, self._refused = self._slot, None, None, None
        self._clear()
        if slot is not None:
            slot.leave()
        super().connection_lost(exc)


def _nothing() -> None:
    pass
