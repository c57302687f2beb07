"""The routes for operators: ``/ping``, ``/readyz``, ``/health``, ``/metrics``."""

from __future__ import annotations

import hmac
import time
from dataclasses import asdict
from enum import Enum, auto
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.endpoints import READY, Endpoints
from app.gateway import Gateway
from app.identity import sender_of
from app.upstreams import HEALTH_SECONDS
from clients.calls import CallScope
from clients.codes import Reason
from resolvers.platform import PlatformRecord


class Details(Enum):
    """To whom a port shows metrics and the details of ``/health``.

    If ``METRICS_TOKEN`` is set, a port that shows them requires the token.
    """

    HIDDEN = auto()
    """To nobody, because another port shows them."""
    PROTECTED = auto()
    """Without ``METRICS_TOKEN``: to everybody, but in production to nobody."""
    SHOWN = auto()
    """Without ``METRICS_TOKEN``: to everybody."""


def operators_routes(endpoints: Endpoints, details: Details) -> list[Route]:
    """Return the routes ``/ping``, ``/readyz``, ``/health`` and, unless details are hidden, ``/metrics``."""

    def is_operator(request: Request) -> bool:
        gateway = endpoints.gateway
        if gateway is None or details is Details.HIDDEN:
            return False
        if (token := gateway.metrics_token) is None:
            return gateway.open_metrics or details is Details.SHOWN
        authorization = request.headers.get("authorization", "")
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())

    async def ping(_: Request) -> JSONResponse:
        """Report that the process responds."""
        return JSONResponse({"status": "ok"})

    async def ready(_: Request) -> JSONResponse:
        """Report whether the process accepts requests."""
        return JSONResponse({"status": endpoints.status}, 200 if endpoints.status == READY else 503)

    async def health(request: Request) -> JSONResponse:
        """Report the health of the gateway and of each service."""
        gateway = endpoints.gateway
        if gateway is None or endpoints.status != READY:
            return JSONResponse({"status": endpoints.status}, 503)
        scope = CallScope(request.state.request_id, time.monotonic() + HEALTH_SECONDS)
        report = await gateway.resources.health.probe(scope)
        body: dict[str, Any] = {"status": "degraded" if report.degraded else "ok"}
        if is_operator(request):
            body |= {"version": report.version, "services": _services(report)}
        return JSONResponse(body)

    async def metrics(request: Request) -> Response:
        """Return metrics in Prometheus' text format."""
        gateway = endpoints.gateway
        if gateway is None or not is_operator(request):
            unset = gateway is not None and gateway.metrics_token is None
            _log_failure(gateway, request)
            text = (
                "METRICS_TOKEN is not set, so /metrics is disabled."
                if unset
                else "Send METRICS_TOKEN as the bearer token."
            )
            return Response(f"{text}\n", 401, {"WWW-Authenticate": "Bearer"}, "text/plain")
        body = await endpoints.metrics()
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    routes = {"/ping": ping, "/readyz": ready, "/health": health, "/metrics": metrics}
    if details is Details.HIDDEN:
        del routes["/metrics"]
    return [Route(path, serve, methods=["GET"]) for path, serve in routes.items()]


def _services(report: PlatformRecord) -> dict[str, Any]:
    return {
        one.service.value: {
            "status": one.status.value,
            "breaker": one.breaker,
            "embedded": one.embedded,
            "note": one.note,
            "cause": one.cause,
            "breakers": [asdict(part) for part in one.parts],
        }
        for one in report.services
    }


def _log_failure(gateway: Gateway | None, request: Request) -> None:
    """Log that a request has no METRICS_TOKEN, or a wrong one."""
    if gateway is not None and gateway.metrics_token is not None:
        reason = Reason.TOKEN_INVALID if "authorization" in request.headers else Reason.TOKEN_MISSING
        gateway.telemetry.audit.sign_in_failed(reason, sender_of(request.scope))
