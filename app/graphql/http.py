"""Serves ``/graphql`` over HTTP, with POST, GET and streamed subscriptions."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from email.message import Message
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec
import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from app.asgi import (
    Disconnected,
    accept_of,
    begin,
    header,
    parse_object,
    respond,
    traceparent_of,
    unless_disconnected,
    write,
)
from app.departure import Departure
from app.gateway import Gateway
from app.graphql.csrf import check_preflighted
from app.graphql.documents import Operation
from app.graphql.errors import RequestError, request_error
from app.graphql.framing import FRAMINGS
from app.graphql.media import EVENT_STREAM, MULTIPART, PLAIN_JSON, RESPONSE_JSON, WHOLE, accepted
from app.graphql.nul import MESSAGE, nul_in_variables
from app.graphql.refusals import refuse
from app.graphql.results import Refused
from app.graphql.streamed import ResponseForm, relay
from app.identity import identity_of, sender_of
from app.limits import CountedSend
from app.signin.errors import token_missing
from app.signin.lifetime import WhileSignedIn
from app.slots import Slot
from clients.codes import ErrorCode, Reason
from clients.errors import BadUserInput, GatewayError
from resolvers.limits import LimitKind
from resolvers.principal import Principal
from resolvers.streams.log import Leave

MAX_QUERY_FIELDS = 100
"""Maximum number of parameters in a URL's query string."""

COST_HEADER = b"graphql-cost"
"""The name of the request header that asks for ``extensions.cost``. Its value is ``report``, as in Hot Chocolate."""

LAST_EVENT_ID = b"last-event-id"
"""The name of the request header with the cursor after which a client resumes an event stream (HTML, 9.2.4)."""

_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})


class GraphQLRequest(msgspec.Struct):
    """A GraphQL request, received over HTTP or WebSocket."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None
    report_cost: bool


class GraphQLHttp:
    """An ASGI application that serves ``/graphql`` over HTTP."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        accepts, counted = Accepts(accepted(accept_of(scope))), CountedSend(send)
        try:
            await self._serve(scope, receive, counted, accepts)
        except Disconnected:
            return
        except (GatewayError, RequestError) as error:
            self._gateway.telemetry.audit.refused(error, sender_of(scope))
            await refuse(scope, counted, accepts.media, error)

    async def _serve(self, scope: Scope, receive: Receive, send: CountedSend, accepts: Accepts) -> None:
        if not accepts.media:
            raise _unacceptable(f"The Accept header must allow {RESPONSE_JSON}, {PLAIN_JSON} or {EVENT_STREAM}.")
        principal, slot = identity_of(scope).signed_in(), cast("Slot", scope["state"]["slot"])
        if principal is not None:
            limits = self._gateway.resources.limits
            slot.versions = await send.count(limits, principal.user_id, LimitKind.GENERAL, tags=True)
        request = await self._request(scope, receive)
        if principal is not None:
            self._gateway.authenticator.check(principal)  # the body may have taken long
        engine = self._gateway.engine
        operation = engine.documents.operation(request.query, request.operation_name)
        media = accepts.choose(operation)
        self._check_allowed(scope, operation, principal)
        if principal is None:
            check_preflighted(scope)
        if media is None:
            raise _no_form(operation)
        report = request.report_cost or header(scope, COST_HEADER) == "report"
        leave = Leave()
        context = self._gateway.context(principal, scope["state"]["request_id"], traceparent_of(scope), leave)
        context.on_long, slot.calls, context.versions = slot.lengthen, context.calls, slot.versions
        if (framing := FRAMINGS.get(media)) is not None:
            if scope["state"].get("head"):  # HEAD executes nothing: a model call would cost money
                await begin(send, framing.content_type)
                await write(send, b"", more=False)
                return
            slot.lengthen()
            form = ResponseForm(
                framing=framing,
                heartbeat=self._gateway.heartbeat,
                subscribes=operation.kind is OperationType.SUBSCRIPTION,
                reconnects=scope["method"] == "GET",
                resumed_after=header(scope, LAST_EVENT_ID) if media == EVENT_STREAM else None,
                request_id=context.request_id,
            )
            context.resumed_after = form.resumed_after
            results = engine.results(operation, request.variables, context, report_cost=report)
            del request, context  # a subscription may run for hours
            drain = self._gateway.drain
            with drain.stream(), Departure(drain, leave), self._signed_in(principal, leave):
                await unless_disconnected(receive, relay(send, results, form, leave, drain))
            return
        with Departure(self._gateway.drain, leave):
            result = await unless_disconnected(
                receive, engine.execute(operation, request.variables, context, report_cost=report)
            )
        status = 400 if isinstance(result, Refused) and media == RESPONSE_JSON else 200
        body = orjson.dumps(result.body())
        slot.size = len(body)
        await respond(send, status, body, f"{media}; charset=utf-8")

    def _signed_in(self, principal: Principal | None, leave: Leave) -> AbstractContextManager[None]:
        return nullcontext() if principal is None else WhileSignedIn(principal, leave, self._gateway.resources)

    def _check_allowed(self, scope: Scope, operation: Operation, principal: Principal | None) -> None:
        if principal is None and not operation.is_public:
            raise token_missing()
        if scope["method"] == "GET" and not self._gateway.engine.is_safe(operation):
            mutates = operation.kind is OperationType.MUTATION
            kind = "Mutations" if mutates else "Subscriptions that start a turn or stream"
            raise _not_allowed(f"{kind} require POST.", "POST")

    async def _request(self, scope: Scope, receive: Receive) -> GraphQLRequest:
        if scope["method"] == "GET":
            return _from_query(scope["query_string"])
        if scope["method"] != "POST":
            raise _not_allowed("The HTTP method is not supported. Use GET or POST.", "GET, POST")
        _check_content_type(header(scope, b"content-type") or "")
        return parse_request(parse_object(await self._gateway.body(scope, receive)))


def parse_request(body: dict[str, Any]) -> GraphQLRequest:
    """Parse a GraphQL request from ``body``, and clear ``body`` to free memory.

    Raises:
        BadUserInput: a request parameter is missing or has the wrong type.
        RequestError: the request names a persisted document, or a variable contains NUL.
    """
    query, name, variables = body.get("query"), body.get("operationName"), body.get("variables")
    extensions = body.get("extensions")
    if not query and _names_document(body, extensions):
        code, message = ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED, "PersistedQueryNotSupported"
        raise request_error(code, message, 400, well_formed=True)
    if not isinstance(query, str) or not query.strip():
        raise BadUserInput("`query` must be a string with a GraphQL document.", reason=Reason.REQUEST)
    if not isinstance(name, str | None):
        raise BadUserInput("`operationName` must be a string.", reason=Reason.REQUEST)
    if not isinstance(variables, dict | None):
        raise BadUserInput("`variables` must be an object.", reason=Reason.REQUEST)
    if not isinstance(extensions, dict | None):
        raise BadUserInput("`extensions` must be an object.", reason=Reason.REQUEST)
    if (path := nul_in_variables(variables)) is not None:
        message = f"{MESSAGE} Remove the character from variables.{path}." if path else MESSAGE
        raise request_error(ErrorCode.BAD_USER_INPUT, message, 400, well_formed=True, reason=Reason.TEXT)
    body.clear()
    return GraphQLRequest(query, name or None, variables, (extensions or {}).get("cost") is True)


def _names_document(body: dict[str, Any], extensions: object) -> bool:
    """Return whether a request names a persisted document, by a hash (Apollo) or by an id (urql, Relay)."""
    return body.get("documentId") is not None or (
        isinstance(extensions, dict) and extensions.get("persistedQuery") is not None
    )


def _check_content_type(value: str) -> None:
    if value == PLAIN_JSON:
        return
    message = Message()
    message["content-type"] = value
    if not value or message.get_content_type() != PLAIN_JSON:
        raise request_error(ErrorCode.BAD_USER_INPUT, f"The Content-Type must be {PLAIN_JSON}.", 415)
    charset = message.get_content_charset("utf-8")
    if charset not in _CHARSETS:
        raise request_error(ErrorCode.BAD_USER_INPUT, f"The request's charset is {charset[:40]!a}. Use UTF-8.", 415)


def _from_query(query_string: bytes) -> GraphQLRequest:
    try:
        text = query_string.decode("latin-1")
        fields = parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS)
    except UnicodeDecodeError as error:
        where = f"a decoded value has the byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise BadUserInput(f"The query string is not valid UTF-8: {where}.", reason=Reason.REQUEST) from error
    except ValueError as error:
        message = f"The query string has more than {MAX_QUERY_FIELDS} parameters. Send fewer parameters."
        raise BadUserInput(message, reason=Reason.REQUEST) from error
    body: dict[str, Any] = {name: values[-1] for name, values in fields.items()}
    for name in ("variables", "extensions"):
        if body.get(name):
            body[name] = parse_object(body[name], f"The parameter `{name}`")
        else:
            body.pop(name, None)
    return parse_request(body)


class Accepts:
    """The media types that a client accepts, in the client's order of preference."""

    def __init__(self, media: list[str]) -> None:
        self.media = media

    def choose(self, operation: Operation) -> str | None:
        """Choose an operation's response media type. Return ``None`` if the client accepts no suitable type."""
        subscribes = operation.kind is OperationType.SUBSCRIPTION
        forms = (EVENT_STREAM, MULTIPART) if subscribes else (*WHOLE, EVENT_STREAM)
        possible = [media for media in self.media if media in forms]
        self.media = possible or [media for media in self.media if media in WHOLE]
        return possible[0] if possible else None


def _no_form(operation: Operation) -> RequestError:
    if operation.kind is OperationType.SUBSCRIPTION:
        return _unacceptable(
            f"Subscriptions need the header Accept: {EVENT_STREAM} or {MULTIPART}. A WebSocket also works."
        )
    return _unacceptable(
        f"Queries and mutations need the header Accept: {RESPONSE_JSON}, {PLAIN_JSON} or {EVENT_STREAM}."
    )


def _not_allowed(message: str, methods: str) -> RequestError:
    error = request_error(ErrorCode.BAD_USER_INPUT, message, 405)
    error.headers["Allow"] = methods
    return error


def _unacceptable(message: str) -> RequestError:
    return request_error(ErrorCode.BAD_USER_INPUT, message, 406)
