"""The routes of the embedded Supabase Auth. ``@supabase/supabase-js`` uses these routes to sign in with a password."""

from __future__ import annotations

import asyncio

import jwt
import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from app.embedded.guard import OwnNameOnly
from app.embedded.server import LoopbackServer
from app.embedded.state import Json
from app.embedded.supabase.sessions import Session, Sessions
from app.embedded.supabase.signing import ALGORITHM, SigningKey

MAX_BODY_BYTES = 10_000
BODY_SECONDS = 5.0

_VERSION = {"x-supabase-api-version": "2024-01-01"}


class EmbeddedSupabase:
    """The embedded Supabase Auth of one project, on a loopback port.

    Args:
        password: every user's password.
        key: the key that signs access tokens.
        issuer: the ``iss`` of access tokens; by default the project's URL with ``/auth/v1``.
    """

    def __init__(self, *, password: str, key: SigningKey, issuer: str = "", port: int = 0) -> None:
        self.sessions = Sessions(issuer=issuer, password=password, key=key)
        self._server = LoopbackServer(OwnNameOnly(Starlette(routes=[Mount("/auth/v1", self.app())])), port)

    @property
    def url(self) -> str:
        """The project's URL."""
        return self._server.url

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        await self._server.start()
        self.sessions.issuer = self.sessions.issuer or f"{self.url}/auth/v1"

    async def stop(self) -> None:
        """Stop at once."""
        await self._server.stop()

    def app(self) -> Starlette:
        """Return the ASGI application for the path ``/auth/v1``."""
        routes = [
            Route("/.well-known/jwks.json", self._jwks),
            Route("/token", self._token, methods=["POST"]),
            Route("/signup", self._signup, methods=["POST"]),
            Route("/user", self._user),
            Route("/logout", self._logout, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse({"keys": [key.jwk for key in self.sessions.keys]})

    async def _token(self, request: Request) -> Response:
        if not _is_json(request):
            return _refused(415, "validation_failed", "The Content-Type must be application/json")
        body, session = await _body(request), None
        match request.query_params.get("grant_type"):
            case "password":
                session = self.sessions.sign_in(str(body.get("email")), str(body.get("password")))
                if session is None:
                    return _refused(400, "invalid_credentials", "Invalid login credentials")
            case "refresh_token":
                session = self.sessions.refresh(str(body.get("refresh_token")))
                if session is None:
                    return _refused(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
            case _:
                return _refused(400, "validation_failed", "unsupported_grant_type")
        return JSONResponse(self.sessions.body(session))

    async def _signup(self, request: Request) -> Response:
        """Sign in a new anonymous user. Nobody can register, because the embedded platform has fixed users."""
        if not _is_json(request):
            return _refused(415, "validation_failed", "The Content-Type must be application/json")
        if (await _body(request)).get("email"):
            return _refused(422, "signup_disabled", "Signups not allowed for this instance")
        return JSONResponse(self.sessions.body(self.sessions.sign_in_anonymously()))

    async def _user(self, request: Request) -> Response:
        session = self._signed_in(request)
        if session is None:
            return _refused(403, "session_not_found", "Session from session_id claim in JWT does not exist")
        return JSONResponse(self.sessions.user(session))

    async def _logout(self, request: Request) -> Response:
        if (session := self._signed_in(request)) is not None:
            self.sessions.sign_out(session)
        return Response(status_code=204)

    def _signed_in(self, request: Request) -> Session | None:
        """Return the session of a request's access token."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        for key in self.sessions.keys:
            try:
                claims = jwt.decode(token, key.private.public_key(), algorithms=[ALGORITHM], audience="authenticated")
            except jwt.PyJWTError:
                continue
            return self.sessions.of_access(claims)
        return None


def _is_json(request: Request) -> bool:
    """Return whether a request declares a JSON body.

    A web page of another origin cannot send such a request without a CORS preflight.
    """
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def bounded_body(request: Request) -> bytes:
    """Read a body of at most ``MAX_BODY_BYTES``. A longer body is empty. Raises TimeoutError and ClientDisconnect."""
    raw = bytearray()
    async with asyncio.timeout(BODY_SECONDS):
        async for piece in request.stream():
            raw += piece
            if len(raw) > MAX_BODY_BYTES:
                return b""
    return bytes(raw)


async def _body(request: Request) -> Json:
    """Read a JSON object of at most ``MAX_BODY_BYTES``. For any other body, return an empty object."""
    try:
        body = orjson.loads(await bounded_body(request))
    except (orjson.JSONDecodeError, TimeoutError, ClientDisconnect):
        return {}
    return body if isinstance(body, dict) else {}


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status, _VERSION)
