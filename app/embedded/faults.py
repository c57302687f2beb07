"""Injects faults into the embedded services, and logs the requests to the services."""

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

from app.embedded.state import Json, State

MAX_CALLS = 5000
TRANSPORT = "agentgraph.transport"
"""The name of the ASGI scope extension that has the connection's transport."""


@dataclass
class Fault:
    """A fault that an embedded service simulates.

    Attributes:
        latency: seconds before the response.
        cut_after: the body bytes after which the connection is aborted.
        path: the only path that has the fault; ``None`` for every path.
    """

    down: bool = False
    hang: bool = False
    latency: float = 0.0
    status: int | None = None
    cut_after: int | None = None
    path: str | None = None


class FaultSwitch:
    """Adds fault injection and a log of requests to a service."""

    def __init__(self, app: ASGIApp, service: str, faults: dict[str, Fault], state: State) -> None:
        self._app = app
        self._service = service
        self._faults = faults
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. If the service has a fault, simulate the fault."""
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        send = _noting_status(self._log(scope, path), send)
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

    def _log(self, scope: Scope, path: str) -> Json:
        """Log a request, and return the entry. The entry's status is ``None`` until the service answers."""
        query = scope["query_string"].decode()
        called = path + (f"?{query}" if query else "")
        call = {"service": self._service, "method": scope["method"], "path": called, "status": None}
        self._state.calls.append(call)
        del self._state.calls[:-MAX_CALLS]
        return call


def _drop(scope: Scope) -> None:
    scope["extensions"][TRANSPORT].abort()


def _noting_status(call: Json, send: Send) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            call["status"] = message["status"]
        await send(message)

    return noting


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
    """Return the routes of the fault page and the page's endpoints. The prefix ``path`` contains a secret."""

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
    """Return the endpoint for faults.

    GET lists the faults, PUT ``{"service": …, "down": true, …}`` sets a fault, and DELETE removes all faults.
    """

    async def switch(request: Request) -> Response:
        if request.method == "DELETE":
            faults.clear()
        elif request.method == "PUT":
            try:
                body = orjson.loads(await request.body())
                service = body.pop("service")
                faults[{name: name for name in services}[service]] = Fault(**body)
            except (ValueError, TypeError, KeyError, AttributeError):
                names = ", ".join(sorted(services))
                return JSONResponse({"error": f"The body must have `service` ({names}) and fields of a fault."}, 400)
        return JSONResponse({name: asdict(fault) for name, fault in faults.items()})

    return switch
