"""HTTP connections that admit, queue or refuse a request without a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.connections.bounded import Connection
from app.connections.exchange import Exchange
from app.connections.phase import Phase
from app.slots import Slot
from clients.errors import GatewayError


class Gate(Protocol):
    """Decides whether the application serves a request. ``Admission`` implements this interface."""

    def decide(self, scope: Scope) -> Slot | GatewayError | None:
        """Admit, queue or refuse a request.

        Returns:
            A slot, which can be in the shedder's queue; the error with which to refuse the request; or ``None`` if the
            application decides.
        """

    def refusal(
        self, scope: Scope, error: GatewayError, *, keep_alive: bool, fields: Sequence[tuple[bytes, bytes]]
    ) -> bytes:
        """Count a refusal, and return the bytes of the answer.

        Args:
            scope: the request.
            error: the reason.
            keep_alive: whether the connection stays open.
            fields: the server's own headers.
        """


_ANSWER = Phase.ANSWER

_KEPT = ("type", "method", "path", "client", "state")
"""The parts of the ASGI scope that metrics, logs and limits need until the end of a stream."""

MAX_HEAD_BYTES = 4096
"""Maximum size of a head that the connection stores for a comparison with the next request's head, in bytes."""


class Head(NamedTuple):
    """The head of a request that has arrived in one piece, together with its body.

    Attributes:
        data: the bytes of the head.
        size: the number of bytes of the head and the body.
        scope: the parsed head, with the client's address.
        known: what the gate has stored in ``scope["state"]["known"]``.
    """

    data: bytes
    size: int
    scope: dict[str, Any]
    known: object


class GatedConnection(Connection):
    """An HTTP connection that calls a gate for each request, and starts a task only for an admitted request.

    If a request's head equals the previous request's head, as most heads of a client do, the connection does not parse
    the head again.

    Args:
        gate: ``None`` if the application admits requests itself.
        locate: sets a request's client address.
    """

    __slots__ = ("_app", "_data", "_gate", "_head", "_locate", "_slot")

    def __init__(self, *args: Any, gate: Gate | None, locate: Callable[[Scope], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._gate = gate
        self._locate = locate
        self._app: Any = None
        self._slot: Slot | None = None
        self._data: bytes | None = None
        self._head: Head | None = None

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of the current request, unless its head equals the previous head."""
        head, self._head = self._head, None
        if self._gate is None or not self.awaits_request:
            self._data = None
        elif head is not None and self._equals(head, data):
            self._repeat(head, data[len(head.data) :])
            self._pass(self._gate, head)
            return
        else:
            self._data = data
        super().data_received(data)

    def _equals(self, head: Head, data: bytes) -> bool:
        """Return whether a request's head equals ``head``, and the client has read enough of the previous answers."""
        return len(data) == head.size and data.startswith(head.data) and not self.flow.write_paused

    def _repeat(self, head: Head, body: bytes) -> None:
        """Begin a request whose head equals the parsed ``head``."""
        self.headers = head.scope["headers"]
        scope: Any = {**head.scope, "state": {**self.app_state, "known": head.known}}
        self.scope = scope
        self.cycle = Exchange(scope, self, keep_alive=True, body=body)
        self.cycle.on_stream = self._free_request
        self.await_answer()
        self._app = self.app

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start the request after all received bytes are parsed. An unparsed body would close the connection."""
        self.cycle.on_stream = self._free_request
        if self._gate is None or self.flow.write_paused:
            if self._gate is not None:
                self._locate(cast("Scope", cycle.scope))
            self._data = None
            super()._start_asgi_task(cycle, app)
        else:
            self._app = app

    def _feed(self) -> None:
        super()._feed()
        if self._app is not None and self._gate is not None:
            self._pass(self._gate)
        self._data = None

    def _pass(self, gate: Gate, head: Head | None = None) -> None:
        """Serve, refuse or queue the current request. ``head`` is the stored head if the head was not parsed again."""
        if self.transport.is_closing():
            self._app = None
            return
        scope: Any = self.cycle.scope
        if head is None:
            self._locate(scope)
            head = self._parsed_head(scope)
        decided = gate.decide(scope)
        if head is not None:
            known = scope["state"].get("known")
            self._head = head if head.known is known else head._replace(known=known)
        if isinstance(decided, GatewayError):
            self._refuse_request(gate, decided)
        elif decided is None or decided.waiting is None:
            self._start()
        else:
            self._slot, self._app, app = decided, None, self._app
            decided.waiting.add_done_callback(lambda _: self._on_decided(gate, app))

    def _parsed_head(self, scope: dict[str, Any]) -> Head | None:
        """Return the current request's head, or ``None`` if the connection cannot compare the next head with it."""
        data, cycle = self._data, self.cycle
        if data is None or cycle.more_body or not cycle.keep_alive or self._received.count:
            return None
        size = len(data) - len(cycle.body)
        if size > MAX_HEAD_BYTES or self.expect_100_continue or not self._has_length(len(cycle.body)):
            return None
        parsed = scope.copy()
        parsed.pop("state", None)  # each request has a separate state
        return Head(data[:size], len(data), parsed, None)

    def _has_length(self, size: int) -> bool:
        """Return whether the head determines that the body has ``size`` bytes."""
        fields = dict(self.headers)
        return b"transfer-encoding" not in fields and int(fields.get(b"content-length", 0)) == size

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
            self._refuse_request(gate, refused)

    def _start(self) -> None:
        app, self._app = self._app, None
        super()._start_asgi_task(self.cycle, app)

    def _refuse_request(self, gate: Gate, error: GatewayError) -> None:
        """Send a refusal, and end the request as ``RequestResponseCycle.send`` does."""
        self._app, cycle = None, self.cycle
        scope, fields = cast("Scope", cycle.scope), self.server_state.default_headers
        self.transport.write(gate.refusal(scope, error, keep_alive=cycle.keep_alive, fields=fields))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response, cycle.on_stream = _nothing, None  # breaks reference cycles
        self.on_response_complete()

    def _free_request(self) -> None:
        """Free the request's head and the parser, about 5 KB, when a streamed answer begins.

        A stream can run for hours. The ASGI scope keeps only ``_KEPT``, because the application has read the rest.
        """
        if self._phase is not _ANSWER or self._received.count:
            return
        self._head = None
        self._received.free()
        scope = cast("dict[str, Any]", self.cycle.scope)
        kept = {name: scope[name] for name in _KEPT}
        scope.clear()
        scope.update(kept)
        self.headers = []
        self.parser = None  # type: ignore[assignment] # as in uvicorn's own connection_lost

    def on_response_complete(self) -> None:
        """After a response, begin to parse or await the next request."""
        parser: httptools.HttpRequestParser | None = self.parser
        if parser is None and not self.transport.is_closing():
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection's resources. Remove its request from the shedder's queue."""
        slot, self._slot, self._app, self._head = self._slot, None, None, None
        if slot is not None:
            slot.leave()
        super().connection_lost(exc)


def _nothing() -> None:
    pass
