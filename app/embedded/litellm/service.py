"""LiteLLM as an ASGI service, with authentication."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.embedded.litellm.admission import Admission
from app.embedded.litellm.answers import Handler, Refused, RequestHandler
from app.embedded.litellm.chat import Chat
from app.embedded.litellm.keys import Keys
from app.embedded.litellm.models import Models
from app.embedded.litellm.responses import Responses
from app.embedded.litellm.spend import Ledger
from app.embedded.state import State


class EmbeddedLiteLLM:
    """The embedded LiteLLM."""

    def __init__(self, state: State, *, words_per_second: float) -> None:
        self._keys = Keys(state)
        ledger = Ledger(state, self._keys)
        admission = Admission(state, self._keys, ledger)
        chat = Chat(state, admission, ledger, words_per_second=words_per_second)
        responses = Responses(state, admission, ledger, words_per_second=words_per_second)
        self._parts = (chat, responses, Models(state, self._keys), self._keys, ledger)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        alive = PlainTextResponse('"I\'m alive!"', media_type="application/json")
        ready = {"status": "healthy", "db": "connected", "litellm_version": "1.106.2"}
        routes = [route for part in self._parts for route in part.routes()]
        return Starlette(
            routes=[
                Route("/health/liveliness", lambda _: alive),
                Route("/health/readiness", lambda _: JSONResponse(ready)),
                *(Route(path, self._guarded(handler), methods=[method]) for method, path, handler in routes),
            ]
        )

    def _guarded(self, handler: Handler) -> RequestHandler:
        async def guarded(request: Request) -> Response:
            try:
                return await handler(request, self._keys.sign_in(request))
            except Refused as refusal:
                return refusal.response()

        return guarded
