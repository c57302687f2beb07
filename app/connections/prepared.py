"""Prepares the bytes of refusals, because an overloaded gateway refuses many requests with the same error."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, NamedTuple, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.asgi import accept_of, run_now
from app.connections.http10 import Unchunked
from app.flags import Flag
from app.graphql.media import EVENT_STREAM, accepted_by
from app.rest.table import is_rest
from clients.bounded import Lru
from clients.errors import GatewayError

MAX_PREPARED = 256
"""Maximum number of prepared refusals. The least recently used one is evicted first."""

_MARK = "~"
"""A placeholder for one character of a request id. Request ids cannot contain this character."""

Refuse = Callable[[Scope, Send, GatewayError], Awaitable[None]]
"""Sends a refusal to a request with the id in ``scope["state"]["request_id"]``."""


class Form(NamedTuple):
    """The properties of a request on which a refusal's bytes depend.

    Attributes:
        formats: the media types that the client accepts. ``None`` for a request to a REST endpoint.
        origin: the page's origin if CORS allows it.
        keep_alive: whether the connection stays open.
    """

    is_head: bool
    http_version: str
    scheme: str
    formats: tuple[str, ...] | None
    origin: str | None
    keep_alive: bool


def form_of(scope: Scope, *, origin: str | None, keep_alive: bool) -> Form:
    """Return a request's form."""
    formats = None if is_rest(scope["path"]) else accepted_by(accept_of(scope))
    return Form(scope["method"] == "HEAD", scope["http_version"], scope["scheme"], formats, origin, keep_alive)


class PreparedRefusals:
    """The bytes of refusals.

    uvicorn serializes the first refusal of a kind. Further refusals of this kind differ only in the request id and in
    the server's own headers, such as ``Date``. Event streams are not prepared.

    Args:
        refuse: sends a refusal.
    """

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._known: Lru[Hashable, list[bytes]] = Lru(MAX_PREPARED)

    def answer(self, scope: Scope, error: GatewayError, form: Form, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the bytes of a refusal.

        Args:
            scope: the request.
            error: the reason.
            form: the request's form.
            fields: the server's own headers.
        """
        request_id: str = scope["state"]["request_id"]
        key = (error.http_status, error.reason, error.message, len(request_id), form)
        pieces = self._known.get(key)
        if pieces is None:
            pieces = self._pieces(scope, error, keep_alive=form.keep_alive)
            if form.formats is None or form.formats[:1] != (EVENT_STREAM,):  # an event stream has a random ``retry``
                self._known.put(key, pieces)
        own = [part for name, value in fields for part in (name, b": ", value, b"\r\n")]
        return b"".join([pieces[0], *own, request_id.encode().join(pieces[1:])])

    def _pieces(self, scope: Scope, error: GatewayError, *, keep_alive: bool) -> list[bytes]:
        """Return the status line, and the parts of the answer before, between and after the request ids."""
        mark = _MARK * len(scope["state"]["request_id"])
        marked = {**scope, "state": {**scope["state"], "request_id": mark}}
        data = _sent(marked, lambda given, _, send: self._refuse(given, send, error), keep_alive=keep_alive)
        status, end, rest = data.partition(b"\r\n")
        return [status + end, *rest.split(mark.encode())]


class _Written:
    """A transport that only stores the written bytes."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        """Do nothing."""


class _Flow:
    write_paused = False


def _sent(scope: Scope, app: ASGIApp, *, keep_alive: bool) -> bytes:
    """Return what uvicorn sends for an application that neither reads nor waits."""
    written, log = _Written(), logging.getLogger("uvicorn.error")
    cycle = RequestResponseCycle(
        cast("Any", scope),
        transport=cast("Any", written),
        flow=cast("Any", _Flow()),
        logger=log,
        access_logger=log,
        access_log=False,
        default_headers=[],
        message_event=cast("Any", Flag()),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )
    served = Unchunked(app, cycle) if scope["http_version"] == "1.0" else app
    run_now(served(scope, cast("Receive", cycle.receive), cast("Send", cycle.send)))
    return written.data
