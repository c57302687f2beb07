"""The client of Letta. Its calls are in one module for each area.

The gateway's key has access to every user's agents. ``resolvers.access`` checks the user's permission before a write,
and before any part of an answer is used.
"""

from __future__ import annotations

import msgspec

from clients.calls import Call, CallScope
from clients.decode import Page, decode
from clients.errors import Service
from clients.letta.agents import AgentCalls
from clients.letta.conversations import ConversationCalls
from clients.letta.ids import is_letta_id
from clients.letta.memory import MemoryCalls
from clients.letta.records import MAX_PAGE
from clients.letta.refusals import translate
from clients.letta.runs import RunCalls
from clients.letta.turns import TurnCalls

_LIST = msgspec.json.Decoder(Page[msgspec.Raw])

__all__ = ["MAX_PAGE", "Letta", "is_letta_id"]


class _Health(msgspec.Struct):
    status: str


_HEALTH = msgspec.json.Decoder(_Health)


class Letta(AgentCalls, ConversationCalls, MemoryCalls, RunCalls, TurnCalls):
    """A client of Letta, which uses the gateway's key."""

    service = Service.LETTA
    translate = staticmethod(translate)

    async def ping(self, scope: CallScope) -> None:
        """Check that Letta is available. Raises GatewayError if it is not."""
        answer = await self.upstream.ping(scope, "/v1/health/")
        decode(Service.LETTA, _HEALTH, answer.body)

    async def check_key(self, scope: CallScope) -> None:
        """Make a call that needs the key. Raises UpstreamError (``CREDENTIAL``) if Letta refuses it."""
        await self.read(scope, _LIST, Call("agents", "/v1/agents/", params=[("limit", "1")]))
