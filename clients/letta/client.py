"""The client of Letta, the service that runs stateful agents.

Each area of Letta's API has one module. The gateway's key can access every user's agents. So ``resolvers.access``
checks the user's permission before each write, and before any part of an answer is used.
"""

import msgspec

from clients.calls import Call, CallScope
from clients.decode import Page, decode
from clients.errors import Service
from clients.failures import check_ping
from clients.letta.agents import AgentCalls
from clients.letta.app_server import HEALTH_PATH, NOT_FOUND, other_server
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
    """A client of Letta that authenticates with the gateway's key."""

    service = Service.LETTA
    translate = staticmethod(translate)

    async def ping(self, scope: CallScope) -> None:
        """Raise GatewayError if Letta is unavailable, or WrongServer if the server is the App Server."""
        answer = await self.upstream.pinged(scope, HEALTH_PATH)
        if answer.status == NOT_FOUND:
            raise await other_server(self.upstream, scope, answer)
        check_ping(Service.LETTA, answer)
        decode(Service.LETTA, _HEALTH, answer.body)

    async def check_key(self, scope: CallScope) -> None:
        """Raise UpstreamError (``CREDENTIAL``) if Letta refuses the gateway's key."""
        await self.read(scope, _LIST, Call("agents", "/v1/agents/", params=[("limit", "1")]))
