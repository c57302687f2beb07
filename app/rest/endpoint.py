"""The REST endpoint as an ASGI application: authentication, rate limits, routing and refusals."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from app.asgi import Disconnected, traceparent_of
from app.gateway import Gateway
from app.identity import identity_of, sender_of
from app.limits import CountedSend
from app.rest.envelope import refuse
from app.rest.idempotency import has_key, is_repeated
from app.rest.relay import Relay
from app.rest.secrets import refused
from app.rest.table import Row, counts_of, endpoint_of, rows_at
from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, NotFound, UpstreamError
from clients.origin import Origin
from clients.state.cache import Tag
from resolvers.context import RequestContext
from resolvers.limits import LimitExceeded, LimitKind

_NONE: dict[str, str] = {}


class RestEndpoint:
    """Serves ``/v1/*`` to users, and ``/api/v1/agents/{user_id}/proxy*`` to Letta."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        counted = CountedSend(send)
        try:
            await self._route(scope, receive, counted)
        except Disconnected:
            return
        except GatewayError as error:
            if isinstance(error, LimitExceeded):
                counted.exceeded(error)
            self._gateway.telemetry.audit.refused(error, sender_of(scope))
            await refuse(counted, error)

    async def _route(self, scope: Scope, receive: Receive, send: CountedSend) -> None:
        found = rows_at(scope["path"])
        row, parameters, method = None, _NONE, scope["method"]
        for at_path, given in found:
            if at_path.method == method:
                row, parameters = at_path, given
                break
        context, counted = await self._sign_in(scope, row, send)
        if row is not None:
            relay = Relay(self._gateway, row, context, counted=counted)
            try:
                with relay.trail:
                    await relay.answer(scope, receive, send, parameters)
            except UpstreamError as error:
                if error.reason is Reason.CREDENTIAL:  # AMS may have a new key in place of the cached one
                    await context.changed(Tag.PROFILE)
                raise
            return
        if not found:
            raise NotFound("The path does not exist. Check the URL.", reason=Reason.ROUTE)
        allow = ", ".join(row.method for row, _ in found)
        await refuse(
            send,
            BadUserInput(f"The path supports only these HTTP methods: {allow}."),
            status=405,
            headers={"allow": allow},
        )

    async def _sign_in(self, scope: Scope, row: Row | None, send: CountedSend) -> tuple[RequestContext, bool]:
        """Authenticate a request and count it against rate limits, before any upstream call.

        If an earlier request with the same idempotency key provides the answer, the request does not count as model
        work.

        Returns:
            The context, and whether the request was counted as model work.

        Raises:
            Unauthenticated: the secret is wrong, or AMS does not have the user. The errors are equal.
            RateLimited: the request exceeds one of the user's rate limits.
        """
        context = self._opened(scope)
        kinds = counts_of(scope["path"]) if row is None else row.counts
        if row is not None and has_key(scope) and await is_repeated(context, scope, row):
            kinds = tuple(kind for kind in kinds if kind is not LimitKind.LLM)
        limits, user_id = self._gateway.resources.limits, context.principal.user_id
        context.versions = await send.count(limits, user_id, *kinds, tags=True)
        if context.origin is Origin.LETTA and not (await context.access.profile()).profile_exists:
            raise refused()
        return context, LimitKind.LLM in kinds

    def _opened(self, scope: Scope) -> RequestContext:
        identity = identity_of(scope)
        principal, request_id, traceparent = identity.signed_in(), scope["state"]["request_id"], traceparent_of(scope)
        context = self._gateway.context(principal, request_id, traceparent, endpoint=endpoint_of(scope["path"]))
        # only the profile and the virtual key, which model calls need; the proxy must know at once who is deleted
        context.reads_cache = context.origin is not Origin.LETTA
        return context
