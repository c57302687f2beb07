"""The routes for operators: ``/ping``, ``/readyz``, ``/health``, ``/metrics``."""

from __future__ import annotations

import asyncio
import hmac
import time
from dataclasses import asdict
from enum import Enum, auto
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.responses import JSONResponse

from app.composition import HEALTH_SECONDS
from app.endpoints import READY, Endpoints
from app.gateway import Gateway
from app.identity import sender_of
from clients.calls import CallScope
from clients.codes import Reason


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


def add_operators_routes(api: FastAPI, endpoints: Endpoints, details: Details) -> None:
    """Add the routes ``/ping``, ``/readyz``, ``/health`` and, unless details are hidden, ``/metrics``."""

    def is_operator(request: Request) -> bool:
        gateway = endpoints.gateway
        if gateway is None or details is Details.HIDDEN:
            return False
        if (token := gateway.metrics_token) is None:
            return gateway.open_metrics or details is Details.SHOWN
        authorization = request.headers.get("authorization", "")
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())

    @api.get("/ping", tags=["operations"], summary="Report that the process responds.")
    async def ping() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/readyz", tags=["operations"], summary="Report whether the process accepts requests.")
    async def ready() -> JSONResponse:
        return JSONResponse({"status": endpoints.status}, 200 if endpoints.status == READY else 503)

    @api.get("/health", tags=["operations"], summary="Report the health of the gateway and of each service.")
    async def health(request: Request) -> JSONResponse:
        gateway = endpoints.gateway
        if gateway is None or endpoints.status != READY:
            return JSONResponse({"status": endpoints.status}, 503)
        scope = CallScope(request.state.request_id, time.monotonic() + HEALTH_SECONDS)
        report = await gateway.resources.health.probe(scope)
        body: dict[str, Any] = {"status": "degraded" if report.degraded else "ok"}
        if is_operator(request):
            services = {
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
            body |= {"version": report.version, "services": services}
        return JSONResponse(body)

    if details is Details.HIDDEN:
        return

    @api.get("/metrics", tags=["operations"], summary="Return metrics in Prometheus' text format.")
    async def metrics(request: Request) -> Response:
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
        body = await asyncio.to_thread(gateway.telemetry.exposition)
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


def _log_failure(gateway: Gateway | None, request: Request) -> None:
    """Log that a request has no METRICS_TOKEN, or a wrong one."""
    if gateway is not None and gateway.metrics_token is not None:
        reason = Reason.TOKEN_INVALID if "authorization" in request.headers else Reason.TOKEN_MISSING
        gateway.telemetry.audit.sign_in_failed(reason, sender_of(request.scope))
