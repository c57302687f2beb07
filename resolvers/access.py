"""Proves which objects are the user's, and makes the owned ids that upstream calls take (decision 0047).

AMS records the owners of agents; all other objects belong to an agent. Objects of other users are ``NOT_FOUND``, as
missing ones are. Before ownership is proved, Letta is read only to learn an object's agent.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar, cast

from clients.ams import Profile
from clients.codes import Reason
from clients.errors import NotFound, Service, UpstreamError
from clients.letta.client import is_letta_id
from clients.letta.records import StepRecord
from clients.owned import ConversationRef, OwnedBlockId
from resolvers.loaders import Loaders
from resolvers.loading import Loader
from resolvers.owned import (
    DEFAULT_PREFIX,
    OwnedAgent,
    OwnedConversation,
    OwnedRun,
    default_conversation,
    not_found,
    ref_of,
)
from resolvers.principal import Principal

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Access:
    """One user's permissions within one operation. Its methods raise NotFound for objects of other users."""

    def __init__(self, principal: Principal, loaders: Loaders, *, platform_key: str | None) -> None:
        self._principal = principal
        self._loaders = loaders
        self._platform_key = platform_key

    async def profile(self) -> Profile:
        """Return the user's own profile in AMS."""
        return await self._loaders.profile.load(self._principal.user_id)

    async def agents(self) -> list[OwnedAgent]:
        """Return all agents of the user."""
        return cast("list[OwnedAgent]", (await self.profile()).agents)

    async def agent(self, agent_id: str) -> OwnedAgent:
        """Return the user's agent of an id."""
        return await self._agent_or("agent", agent_id)

    async def conversation(self, conversation_id: str) -> OwnedConversation:
        """Return a conversation with an agent of the user's by its id in the graph."""
        if conversation_id.startswith(DEFAULT_PREFIX):
            agent = await self._agent_or("conversation", conversation_id.removeprefix(DEFAULT_PREFIX))
            return default_conversation(agent.agent_id)
        record = await self._learned("conversation", "conv", conversation_id, self._loaders.conversation)
        await self._agent_or("conversation", record.agent_id)
        return cast("OwnedConversation", record)

    async def conversation_ref(self, text: str) -> ConversationRef:
        """Return the conversation whose ``ConversationRef`` has a text, ``conv-…`` or ``agent-…``."""
        if text.startswith("agent-"):
            return ConversationRef((await self._agent_or("message", text)).agent_id)
        return ref_of(await self.conversation(text))

    async def run(self, run_id: str) -> OwnedRun:
        """Return a run of an agent of the user's."""
        record = await self._learned("run", "run", run_id, self._loaders.run)
        await self._agent_or("run", record.agent_id or "")
        return cast("OwnedRun", record)

    async def step(self, step_id: str) -> StepRecord:
        """Return a step of an agent of the user's."""
        record = await self._learned("step", "step", step_id, self._loaders.step)
        await self._agent_or("step", record.agent_id or "")
        return record

    async def block(self, block_id: str) -> OwnedBlockId:
        """Prove that every agent that a memory block is attached to is the user's."""
        attached = await self._learned("memory block", "block", block_id, self._loaders.block_agents)
        if not attached or not attached <= {agent.agent_id for agent in await self.agents()}:
            raise not_found("memory block")
        return cast("OwnedBlockId", block_id)

    async def model_key(self) -> str:
        """Return the LiteLLM key that pays for the user's model calls: the user's own, else the platform's."""
        key = (await self.profile()).litellm_key or self._platform_key
        if key is None:
            raise UpstreamError(
                "No LiteLLM key is configured for your model calls. Ask the operator for one.",
                reason=Reason.CREDENTIAL,
                service=Service.LITELLM,
                can_retry=False,
            )
        return key

    async def _learned(self, kind: str, prefix: str, claimed: str, loader: Loader[K, R]) -> R:
        """Read an object to learn its agent. Nothing is read for a user without agents."""
        if not is_letta_id(claimed, prefix) or not await self.agents():
            raise not_found(kind)
        try:
            return await loader.load(cast("K", claimed))
        except NotFound as error:
            raise not_found(kind) from error

    async def _agent_or(self, kind: str, agent_id: str) -> OwnedAgent:
        """Return the user's agent of an id. The error names ``kind``."""
        if is_letta_id(agent_id, "agent"):
            for agent in await self.agents():
                if agent.agent_id == agent_id:
                    return agent
        raise not_found(kind)
