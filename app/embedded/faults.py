"""Fault injection and the log of calls, in front of each embedded service."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.embedded.state import State

MAX_CALLS = 5000
TRANSPORT = "agentgraph.transport"
"""The scope extension with a connection's transport."""


@dataclass
class Fault:
    """The fault of a service. ``latency`` is in seconds, ``cut_after`` in bytes of body.

    ``path`` limits the fault to requests of that path.
    """

    down: bool = False
    hang: bool = False
    latency: float = 0.0
    status: int | None = None
    cut_after: int | None = None
    path: str | None = None


class FaultSwitch:
    """A service with fault injection, whose calls are logged."""

    def __init__(self, app: ASGIApp, service: str, faults: dict[str, Fault], state: State) -> None:
        self._app = app
        self._service = service
        self._faults = faults
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call, with the fault."""
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        self._log(scope, path)
        fault = self._faults.get(self._service, Fault())
        if fault.path not in {None, path}:
            fault = Fault()
        if fault.down:
            _drop(scope)
            return
        if fault.hang:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if fault.latency:
            await asyncio.sleep(fault.latency)
        if fault.status is not None:
            await JSONResponse({"detail": "fault"}, fault.status)(scope, receive, send)
            return
        await self._app(scope, receive, _cutting(scope, send, fault.cut_after) if fault.cut_after is not None else send)

    def _log(self, scope: Scope, path: str) -> None:
        query = scope["query_string"].decode()
        self._state.calls.append(
            {"service": self._service, "method": scope["method"], "path": path + (f"?{query}" if query else "")}
        )
        del self._state.calls[:-MAX_CALLS]


def _drop(scope: Scope) -> None:
    """Abort the connection."""
    scope["extensions"][TRANSPORT].abort()


def _cutting(scope: Scope, send: Send, limit: int) -> Send:
    sent = 0

    async def cutting(message: Message) -> None:
        nonlocal sent
        body = message.get("body", b"")
        if message["type"] == "http.response.body" and sent + len(body) > limit:
            _drop(scope)
            return
        sent += len(body)
        await send(message)

    return cutting


PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes(path: str, faults: dict[str, Fault], services: frozenset[str], state: State) -> list[Route]:
    """Return the fault page at a path that contains a secret, and the endpoints that it and the tests use."""

    async def page(_: Request) -> Response:
        text = files("app.embedded").joinpath("page.html").read_text("utf-8")
        return HTMLResponse(text.replace("{{services}}", " ".join(sorted(services))), headers=PAGE_HEADERS)

    async def stats(_: Request) -> Response:
        return JSONResponse(asdict(state.stats))

    async def calls(request: Request) -> Response:
        logged = list(state.calls)
        if request.method == "DELETE":
            state.calls.clear()
        return JSONResponse(logged)

    return [
        Route(path, page),
        Route(f"{path}faults", _control(faults, services), methods=["GET", "PUT", "DELETE"]),
        Route(f"{path}stats", stats),
        Route(f"{path}calls", calls, methods=["GET", "DELETE"]),
    ]


def _control(faults: dict[str, Fault], services: frozenset[str]) -> Any:
    """Return the endpoint of the faults: GET lists, PUT ``{"service": …, "down": true, …}`` sets, DELETE clears."""

    async def switch(request: Request) -> Response:
        if request.method == "DELETE":
            faults.clear()
        elif request.method == "PUT":
            try:
                body = orjson.loads(await request.body())
                service = body.pop("service")
                known_service = {name: name for name in services}[service]
                faults[known_service] = Fault(**body)
            except (ValueError, TypeError, KeyError, AttributeError):
                known = ", ".join(sorted(services))
                return JSONResponse({"error": f"service (one of {known}) and the fields of a fault"}, 400)
        return JSONResponse({name: asdict(fault) for name, fault in faults.items()})

    return switch
