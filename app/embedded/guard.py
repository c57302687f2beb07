"""Protects the embedded platform from web pages.

A web page in the user's browser can send requests to the platform's port. If a domain of the page resolves to 127.0.0.1
(DNS rebinding), the page could also read the responses.
"""

from __future__ import annotations

import re

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MARK = "x-agentgraph-embedded"
"""The header of every response, by which ``agentgraph doctor`` recognises an embedded service."""

_MARKED = (MARK.encode(), b"1")

_OWN_NAME = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


class OwnNameOnly:
    """Serves requests whose ``Host`` is a loopback name, and answers other requests with 421 (RFC 9110, 15.5.20)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse the request."""
        if scope["type"] == "http" and not _is_by_own_name(scope):
            refusal = PlainTextResponse("The embedded services can only be reached as 127.0.0.1 or localhost.\n", 421)
            await refusal(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _MARKED]
            await send(message)

        await self._app(scope, receive, marked)


def _is_by_own_name(scope: Scope) -> bool:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return len(hosts) == 1 and _OWN_NAME.fullmatch(hosts[0]) is not None
