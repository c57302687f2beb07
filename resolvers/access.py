"""Checks that objects belong to the signed-in user (decision 0047).

AMS records the owners of agents. Every other object belongs to an agent. The gateway learns this agent from Letta.
"""

from collections.abc import Hashable
from typing import Protocol, TypeVar, cast

from clients.ams import Profile
from clients.codes import Reason
from clients.errors import NotFound, Service, UpstreamError
from clients.letta.client import is_letta_id
from clients.letta.records import StepRecord
from clients.owned import ConversationRef, OwnedBlockId
from clients.state.cache import Tag
from resolvers.loaders import Loaders
from resolvers.loading import Loader
from resolvers.owned import (
    DEFAULT_PREFIX,
    OwnedAgent,
    OwnedConversation,
    OwnedRun,
    agents_of,
    default_conversation,
    not_found,
    ref_of,
)
from resolvers.principal import Principal

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
A = TypeVar("A", bound="_OfAgent")


class _OfAgent(Protocol):
    @property
    def agent_id(self) -> str | None: ...


class Access:
    """Checks one user's access to objects. If another user owns an object, the methods raise NotFound.

    If a cached record shows no access, the record is read again, because the object may be new.
    """

    def __init__(self, principal: Principal, loaders: Loaders, *, platform_key: str | None) -> None:
        self._principal = principal
        self._loaders = loaders
        self._platform_key = platform_key

    async def profile(self) -> Profile:
        """Return the user's profile in AMS."""
        return await self._loaders.profile.load(self._principal.user_id)

    async def agents(self, loaders: Loaders | None = None) -> list[OwnedAgent]:
        """Return the user's agents. They can be read with other loaders of the operation."""
        return agents_of(await (loaders or self._loaders).profile.load(self._principal.user_id))

    async def agent(self, agent_id: str) -> OwnedAgent:
        """Return the user's agent with the given id."""
        return await self._owned_agent("agent", agent_id)

    async def conversation(self, conversation_id: str) -> OwnedConversation:
        """Return the user's conversation with the given GraphQL id."""
        if conversation_id.startswith(DEFAULT_PREFIX):
            agent = await self._owned_agent("conversation", conversation_id.removeprefix(DEFAULT_PREFIX))
            return default_conversation(agent.agent_id)
        record = await self._read_owned("conversation", "conv", conversation_id, self._loaders.conversation)
        return cast("OwnedConversation", record)

    async def agent_of_conversation(self, conversation_id: str) -> str | None:
        """Return the agent's id of any user's conversation, or ``None`` if Letta has no such conversation."""
        try:
            record = await self._read_claimed("conversation", "conv", conversation_id, self._loaders.conversation)
        except NotFound:
            return None
        return record.agent_id

    async def conversation_ref(self, text: str) -> ConversationRef:
        """Return a reference to the user's conversation. ``text`` is an agent's id or a conversation's GraphQL id."""
        if text.startswith("agent-"):
            return ConversationRef((await self._owned_agent("message", text)).agent_id)
        return ref_of(await self.conversation(text))

    async def run(self, run_id: str) -> OwnedRun:
        """Return the run with the given id, if the run's agent belongs to the user."""
        return cast("OwnedRun", await self._read_owned("run", "run", run_id, self._loaders.run))

    async def step(self, step_id: str) -> StepRecord:
        """Return the step with the given id, if the step's agent belongs to the user."""
        return await self._read_owned("step", "step", step_id, self._loaders.step)

    async def block(self, block_id: str) -> OwnedBlockId:
        """Return a memory block's id if the user owns every agent that has the block."""
        attached = await self._read_claimed("memory block", "block", block_id, self._loaders.block_agents)
        if not attached or not attached <= {agent.agent_id for agent in await self.agents()}:
            raise not_found("memory block")
        return cast("OwnedBlockId", block_id)

    async def own_key(self) -> str | None:
        """Return the user's LiteLLM key, or ``None`` if the user has no key."""
        return (await self._loaders.account.load(self._principal.user_id)).litellm_key

    async def model_key(self) -> str:
        """Return the user's LiteLLM key, or the platform's key if the user has no key."""
        return paying_key(await self.own_key(), self._platform_key)

    async def _read_owned(self, kind: str, prefix: str, claimed: str, loader: Loader[K, A]) -> A:
        """Read an object that belongs to one of the user's agents."""
        try:
            record = await self._read_claimed(kind, prefix, claimed, loader)
        except NotFound:
            await self._agents_again()  # otherwise, the number of calls would show that the object does not exist
            raise
        await self._owned_agent(kind, record.agent_id or "")
        return record

    async def _read_claimed(self, kind: str, prefix: str, claimed: str, loader: Loader[K, R]) -> R:
        """Read an object whose owner has not been checked. If the user has no agents, nothing is read."""
        if not is_letta_id(claimed, prefix) or not (await self.agents() or await self._agents_again()):
            raise not_found(kind)
        try:
            return await loader.load(cast("K", claimed))
        except NotFound as error:
            raise not_found(kind) from error

    async def _owned_agent(self, kind: str, agent_id: str) -> OwnedAgent:
        if is_letta_id(agent_id, "agent"):
            found = _agent_in(await self.agents(), agent_id) or _agent_in(await self._agents_again(), agent_id)
            if found is not None:
                return found
        raise not_found(kind)

    async def _agents_again(self) -> list[OwnedAgent]:
        """Read the user's agents without the cache, if a cached record may be the reason that an agent is missing."""
        uncached = self._loaders.uncached
        if uncached is None:
            return []
        agents = await self.agents(uncached)
        if {agent.agent_id for agent in agents} != {agent.agent_id for agent in await self.agents()}:
            await self._loaders.report_outdated(Tag.PROFILE, Tag.AGENTS)
        return agents


def paying_key(own: str | None, platform: str | None) -> str:
    """Return the LiteLLM key that pays for a user's model calls. Raises UpstreamError if there is none."""
    key = own or platform
    if key is None:
        raise UpstreamError(
            "No LiteLLM key is configured for your model calls. Ask the operator for a key.",
            reason=Reason.CREDENTIAL,
            service=Service.LITELLM,
            can_retry=False,
        )
    return key


def _agent_in(agents: list[OwnedAgent], agent_id: str) -> OwnedAgent | None:
    return next((agent for agent in agents if agent.agent_id == agent_id), None)
