"""The REST door as bare ASGI: who comes in, which row of the table they ask, and what a refusal looks like."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from app.asgi import ClientLeft, traceparent_of
from app.callers import caller_of
from app.doors import Doors
from app.limits import CountedSend
from app.places import CallerKind
from app.rest.envelope import refuse
from app.rest.idempotency import starts_nothing
from app.rest.relay import Relay
from app.rest.secrets import refused
from app.rest.table import counts_of, rows_at
from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, NotFound
from resolvers.context import RequestContext
from resolvers.limits import LimitKind


class RestDoor:
    """``/v1/*``, opened by a user's token, and ``/api/v1/agents/{user_id}/proxy*``, by that user's agents' secret."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        counted = CountedSend(send)
        try:
            await self._route(scope, receive, counted)
        except ClientLeft:
            return
        except GatewayError as error:
            await refuse(counted, error)

    async def _route(self, scope: Scope, receive: Receive, send: CountedSend) -> None:
        context, counted = await self._let_in(scope, send)
        found = rows_at(scope["path"])
        if not found:
            raise NotFound("This path does not exist.", reason=Reason.ROUTE)
        for row, named in found:
            if row.method == scope["method"]:
                relay = Relay(self._doors, row, context, counted=counted)
                await relay.answer(scope, receive, send, model=named.get("model"))
                return
        allow = ", ".join(row.method for row, _ in found)
        await refuse(send, BadUserInput(f"This path allows only {allow}."), status=405, headers={"allow": allow})

    async def _let_in(self, scope: Scope, send: CountedSend) -> tuple[RequestContext, bool]:
        """The request's context, and whether it was counted as one that puts a model to work.

        The secret is checked and the request counted before any upstream is called. A request that an earlier one
        with its key will answer starts nothing.

        Raises:
            Unauthenticated: the same for a wrong secret and for a user whom AMS does not know.
            RateLimited: over one of the user's limits.
        """
        context = self._opened(scope)
        kinds = counts_of(scope["path"], scope["method"])
        rows = (row for row, _ in rows_at(scope["path"]) if row.method == scope["method"])
        if any(starts_nothing(context, scope, row) for row in rows):
            kinds = tuple(kind for kind in kinds if kind is not LimitKind.LLM)
        await send.count(self._doors.resources.limits, context.principal.user_id, *kinds)
        if context.from_letta and not (await context.access.profile()).profile_exists:
            raise refused()
        return context, LimitKind.LLM in kinds

    def _opened(self, scope: Scope) -> RequestContext:
        """The context of a request whose secret is right. Raises Unauthenticated."""
        caller = caller_of(scope)
        principal, from_letta = caller.signed_in(), caller.kind is CallerKind.LETTA
        request_id, traceparent = scope["state"]["request_id"], traceparent_of(scope)
        return self._doors.context(principal, request_id, traceparent, from_letta=from_letta)
