"""GraphQL over HTTP: POST and GET, by the GraphQL-over-HTTP specification."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec
import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from app.asgi import ClientLeft, header, parse_object, respond, retry_after, unless_left
from app.doors import Doors
from app.graphql.documents import Operation
from app.graphql.engine import Payload
from app.graphql.errors import RequestError, request_error, told
from clients.errors import BadUserInput, ErrorCode, GatewayError
from resolvers.principal import Principal

RESPONSE_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"


class GraphQLRequest(msgspec.Struct):
    """What a client asks, however it came."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None


class GraphQLHttp:
    """The HTTP half of ``/graphql``, as bare ASGI."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        media = PLAIN_JSON
        headers: dict[str, str] = {}
        request_id: str = scope["state"]["request_id"]
        try:
            media = _negotiated(header(scope, b"accept"))
            status, payload = 200, await self._answer(scope, receive)
            if "data" not in payload and media == RESPONSE_JSON:
                status = 400
        except ClientLeft:
            return
        except GatewayError as error:
            status = error.http_status
            payload, headers = {"errors": told(error, request_id)}, retry_after(error)
            if status == 401:
                headers["WWW-Authenticate"] = "Bearer"
        except RequestError as error:
            status = 200 if error.well_formed and media == PLAIN_JSON else error.status
            payload, headers = {"errors": told(error, request_id)}, error.headers
        await respond(send, status, orjson.dumps(payload), f"{media}; charset=utf-8", headers)

    async def _answer(self, scope: Scope, receive: Receive) -> Payload:
        principal = self._doors.principal(header(scope, b"authorization"))
        request = await self._request(scope, receive)
        operation = self._doors.engine.documents.operation(request.query, request.operation_name)
        self._allowed(scope, operation, principal)
        context = self._doors.context(principal, scope["state"]["request_id"], header(scope, b"traceparent"))
        work = self._doors.engine.execute(operation, request.variables, context)
        return await unless_left(receive, work)

    def _allowed(self, scope: Scope, operation: Operation, principal: Principal | None) -> None:
        if principal is None and not operation.introspection_only:
            self._doors.authenticator.principal(None)
        if operation.kind is OperationType.SUBSCRIPTION:
            raise request_error(ErrorCode.BAD_USER_INPUT, "Subscriptions need a WebSocket (graphql-transport-ws).", 406)
        if scope["method"] == "GET" and operation.kind is OperationType.MUTATION:
            error = request_error(ErrorCode.BAD_USER_INPUT, "Mutations need POST.", 405)
            error.headers["Allow"] = "POST"
            raise error

    async def _request(self, scope: Scope, receive: Receive) -> GraphQLRequest:
        if scope["method"] == "GET":
            return _from_query(scope["query_string"])
        if scope["method"] != "POST":
            error = request_error(ErrorCode.BAD_USER_INPUT, "Use GET or POST.", 405)
            error.headers["Allow"] = "GET, POST"
            raise error
        content_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if content_type != PLAIN_JSON:
            raise request_error(ErrorCode.BAD_USER_INPUT, "The body must be application/json.", 415)
        return parse_request(parse_object(await self._doors.body(scope, receive)))


def parse_request(body: dict[str, Any]) -> GraphQLRequest:
    """A request from its JSON form, whichever transport it came by.

    Raises:
        BadUserInput: where a part is missing or of the wrong type.
        RequestError: PERSISTED_QUERY_NOT_FOUND, for a hash without its document.
    """
    query, name, variables = body.get("query"), body.get("operationName"), body.get("variables")
    extensions = body.get("extensions")
    if query is None and isinstance(extensions, dict) and "persistedQuery" in extensions:
        raise request_error(ErrorCode.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound", 400, well_formed=True)
    if not isinstance(query, str) or not query.strip():
        raise BadUserInput("query must be a string with a document.", reason="REQUEST")
    if not isinstance(name, str | None):
        raise BadUserInput("operationName must be a string.", reason="REQUEST")
    if not isinstance(variables, dict | None):
        raise BadUserInput("variables must be an object.", reason="REQUEST")
    if not isinstance(extensions, dict | None):
        raise BadUserInput("extensions must be an object.", reason="REQUEST")
    return GraphQLRequest(query, name or None, variables)


def _from_query(query_string: bytes) -> GraphQLRequest:
    fields = parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
    body: dict[str, Any] = {name: values[-1] for name, values in fields.items()}
    for name in ("variables", "extensions"):
        if body.get(name):
            body[name] = parse_object(body[name].encode())
        else:
            body.pop(name, None)
    return parse_request(body)


def _negotiated(accept: str | None) -> str:
    """The answer's media type. Raises RequestError (406) where the client takes neither."""
    if not accept:
        return PLAIN_JSON
    best: tuple[float, str] | None = None
    for part in accept.split(","):
        name, _, parameters = part.partition(";")
        offered = {
            RESPONSE_JSON: RESPONSE_JSON,
            PLAIN_JSON: PLAIN_JSON,
            "application/*": RESPONSE_JSON,
            "*/*": PLAIN_JSON,
        }.get(name.strip().lower())
        quality = _quality(parameters)
        if offered is not None and quality > 0 and (best is None or quality > best[0]):
            best = (quality, offered)
    if best is None:
        raise request_error(ErrorCode.BAD_USER_INPUT, f"This address answers {RESPONSE_JSON} or {PLAIN_JSON}.", 406)
    return best[1]


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
