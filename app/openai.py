"""The OpenAI door: ``/v1/chat/completions`` and ``/v1/models``, for SDKs whose key is the user's own token.

An answer's bytes go on as they come. Errors have OpenAI's envelope; their statuses make its SDKs raise the right
exception, and retry only what a retry can help.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from app.asgi import ClientLeft, begin, header, parse_object, respond, retry_after, unless_left, write
from app.doors import Doors
from clients.errors import BadUserInput, ErrorCode, GatewayError, NotFound
from clients.litellm import passed_headers
from resolvers.context import RequestContext
from resolvers.streams.completions import CompletionSource, with_counts
from resolvers.streams.events import Ended, OnDisconnect, StreamOutcome
from resolvers.streams.log import StreamLog
from resolvers.turns import payable

JSON = "application/json"
_TYPES = {
    ErrorCode.UNAUTHENTICATED: "authentication_error",
    ErrorCode.FORBIDDEN: "permission_error",
    ErrorCode.NOT_FOUND: "invalid_request_error",
    ErrorCode.BAD_USER_INPUT: "invalid_request_error",
    ErrorCode.PAYLOAD_TOO_LARGE: "invalid_request_error",
    ErrorCode.RATE_LIMITED: "rate_limit_error",
    ErrorCode.BUDGET_EXCEEDED: "insufficient_quota",
}
_CODES = {
    "TOKEN_MISSING": "invalid_api_key",
    "TOKEN_INVALID": "invalid_api_key",
    "TOKEN_EXPIRED": "invalid_api_key",
    "CONTEXT_LENGTH": "context_length_exceeded",
}


class OpenAIDoor:
    """``/v1/*``, as bare ASGI."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._route(scope, receive, send)
        except ClientLeft:
            return
        except GatewayError as error:
            await respond(send, error.http_status, orjson.dumps(envelope(error)), JSON, retry_after(error))

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = self._doors.authenticator.principal(header(scope, b"authorization"))
        context = self._doors.context(principal, scope["state"]["request_id"], header(scope, b"traceparent"))
        path, method = scope["path"].removeprefix("/v1"), scope["method"]
        if (method, path) == ("POST", "/chat/completions"):
            await self._completions(context, scope, receive, send)
        elif method == "GET" and re.fullmatch(r"/models(/.+)?", path):
            await respond(send, 200, await self._models(context, path.removeprefix("/models").lstrip("/")), JSON)
        elif path in {"/chat/completions", "/models"}:
            allow = "POST" if path == "/chat/completions" else "GET"
            body = envelope(BadUserInput(f"Use {allow}."))
            await respond(send, 405, orjson.dumps(body), JSON, {"allow": allow})
        else:
            raise NotFound("This address does not exist.", reason="ROUTE")

    async def _models(self, context: RequestContext, name: str) -> bytes:
        key = await context.access.model_key()
        answer = await context.resources.litellm.openai_models(context.scope, key)
        if not name:
            return answer.body
        for model in orjson.loads(answer.body)["data"]:
            if model["id"] == name:
                return orjson.dumps(model)
        raise NotFound("The model does not exist.", reason="MODEL_NOT_FOUND")

    async def _completions(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        raw = await self._doors.body(scope, receive)
        body = parse_object(raw)
        if not isinstance(body.get("model"), str) or not isinstance(body.get("messages"), list):
            raise BadUserInput("model must be a string and messages a list.", reason="REQUEST")
        if not isinstance(body.get("stream"), bool | None):
            raise BadUserInput("stream must be true or false.", reason="REQUEST")
        key = await context.access.model_key()
        own_key = key != context.resources.platform_key
        if body.get("stream") is True:
            await self._stream(context, key, body, own_key, scope, receive, send)
            return
        sent = raw if own_key else msgspec.json.encode({**body, "user": context.principal.user_id})
        litellm = context.resources.litellm
        answer = await unless_left(receive, litellm.complete(context.model_scope(), key, sent))
        await respond(send, 200, with_counts(answer.body), JSON, passed_headers(answer.headers))

    async def _stream(
        self,
        context: RequestContext,
        key: str,
        body: dict[str, Any],
        own_key: bool,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        request = payable(body, own_key=own_key, user_id=context.principal.user_id)
        source = CompletionSource(context, key, msgspec.json.encode(request), wants_usage=wants_usage)
        stays = header(scope, b"x-stream-continue") == "true"
        attached = context.resources.streams.started(
            context.principal.user_id,
            kind="completion",
            source=lambda: source,
            on_disconnect=OnDisconnect.CONTINUE if stays else OnDisconnect.CANCEL,
        )

        async def relay() -> None:
            async with attached as stream:
                await begin(send, "text/event-stream; charset=utf-8", {"x-stream-id": stream.id, **source.headers})
                await _relay(send, stream.log, self._doors.heartbeat)

        await unless_left(receive, relay())


async def _relay(send: Send, log: StreamLog, heartbeat: float) -> None:
    """Each upstream event's bytes as they came, a comment when nothing comes for a heartbeat, to the end."""
    position = 0
    while True:
        try:
            async with asyncio.timeout(heartbeat):
                await log.more(position)
        except TimeoutError:
            await write(send, b": ping\n\n")
            continue
        batch = log.entries[position:]
        position = batch[-1].seq
        chunk = b"".join(entry.raw for entry in batch)
        if log.ended is not None and batch[-1].event is log.ended:
            await write(send, chunk + _failure(log.ended), more=False)
            return
        if chunk:
            await write(send, chunk)


def _failure(ended: Ended) -> bytes:
    """What the end of a stream that did not complete looks like: one error event, and no ``[DONE]``."""
    if ended.outcome is StreamOutcome.COMPLETED:
        return b""
    code = ended.error.code.value if ended.error else "CANCELLED"
    message = ended.error.message if ended.error else "The stream was cancelled."
    error = {"message": message, "type": "upstream_error", "param": None, "code": code}
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"


def envelope(error: GatewayError) -> dict[str, Any]:
    """OpenAI's error body."""
    reason = error.reason or error.code.value
    return {
        "error": {
            "message": error.message,
            "type": _TYPES.get(error.code, "api_error"),
            "param": "model" if reason.startswith("MODEL_NOT") else None,
            "code": _CODES.get(reason, reason.lower()),
        }
    }
