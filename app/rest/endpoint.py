"""The REST endpoint as an ASGI application: authentication, rate limits, routing and refusals."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from app.asgi import Disconnected, traceparent_of
from app.gateway import Gateway
from app.identity import identity_of, sender_of
from app.limits import CountedSend
from app.rest.envelope import refuse
from app.rest.idempotency import is_repeated
from app.rest.relay import Relay
from app.rest.secrets import refused
from app.rest.table import counts_of, endpoint_of, rows_at
from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, NotFound
from clients.origin import Origin
from resolvers.context import RequestContext
from resolvers.limits import LimitExceeded, LimitKind


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
        context, counted = await self._sign_in(scope, send)
        found = rows_at(scope["path"])
        if not found:
            raise NotFound("The path does not exist. Check the URL.", reason=Reason.ROUTE)
        for row, parameters in found:
            if row.method == scope["method"]:
                relay = Relay(self._gateway, row, context, counted=counted)
                with relay.trail:
                    await relay.answer(scope, receive, send, model=parameters.get("model"))
                return
        allow = ", ".join(row.method for row, _ in found)
        await refuse(
            send,
            BadUserInput(f"The path supports only these HTTP methods: {allow}."),
            status=405,
            headers={"allow": allow},
        )

    async def _sign_in(self, scope: Scope, send: CountedSend) -> tuple[RequestContext, bool]:
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
        kinds = counts_of(scope["path"], scope["method"])
        rows = (row for row, _ in rows_at(scope["path"]) if row.method == scope["method"])
        repeats = [await is_repeated(context, scope, row) for row in rows]
        if any(repeats):
            kinds = tuple(kind for kind in kinds if kind is not LimitKind.LLM)
        await send.count(self._gateway.resources.limits, context.principal.user_id, *kinds)
        if context.origin is Origin.LETTA and not (await context.access.profile()).profile_exists:
            raise refused()
        return context, LimitKind.LLM in kinds

    def _opened(self, scope: Scope) -> RequestContext:
        identity = identity_of(scope)
        principal, request_id, traceparent = identity.signed_in(), scope["state"]["request_id"], traceparent_of(scope)
        return self._gateway.context(principal, request_id, traceparent, endpoint=endpoint_of(scope["path"]))
