"""Forwards the requests of ``/auth/v1`` to the embedded Supabase of another process."""

from __future__ import annotations

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.embedded import http_client
from app.embedded.supabase.service import BODY_SECONDS, bounded_body

_FORWARDED = frozenset({"authorization", "content-type", "apikey"})
_RETURNED = frozenset({"content-type", "x-supabase-api-version", "allow"})


class Relay:
    """An ASGI application that forwards requests to ``<url>/auth/v1``."""

    def __init__(self, url: str) -> None:
        self._client = http_client.client(base_url=f"{url}/auth/v1", timeout=BODY_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        headers = {name: value for name, value in request.headers.items() if name in _FORWARDED}
        try:
            answer = await self._client.request(
                request.method,
                path,
                params=str(request.query_params),
                headers=headers,
                content=await bounded_body(request),
            )
        except (httpx.HTTPError, ClientDisconnect, TimeoutError):
            return JSONResponse({"code": "unexpected_failure", "message": "The sign-in does not answer"}, 503)
        kept = {name: value for name, value in answer.headers.items() if name in _RETURNED}
        return Response(answer.content, answer.status_code, kept)
