"""The one place that decides what a principal may see and touch.

AMS says who owns what. What is not yours does not exist: an agent, conversation or run of somebody else is NOT_FOUND,
the same as one that was never made. Letta is asked for nothing before that is decided, but the one read that learns
which agents a conversation, run, step or memory block belongs to.
"""

from __future__ import annotations

from typing import TypeVar

from clients.ams import AgentRow, Profile
from clients.codes import Reason
from clients.errors import NotFound, Service, UpstreamError
from clients.letta.client import is_letta_id
from clients.letta.records import ConversationRecord, RunRecord, StepRecord
from resolvers.loaders import Loaders
from resolvers.loading import Loader
from resolvers.principal import Principal

DEFAULT_PREFIX = "conversation:"
"""``conversation:<agent id>`` is the id of an agent's default conversation, which has no record in Letta."""

R = TypeVar("R")


class Access:
    """What one principal may see, within one operation."""

    def __init__(self, principal: Principal, loaders: Loaders, *, platform_key: str | None) -> None:
        self._principal = principal
        self._loaders = loaders
        self._platform_key = platform_key

    async def profile(self) -> Profile:
        """The principal's own profile in AMS."""
        return await self._loaders.profile.load(self._principal.user_id)

    async def agent(self, agent_id: str) -> AgentRow:
        """The principal's agent of that id. Raises NotFound."""
        if is_letta_id(agent_id, "agent"):
            for row in (await self.profile()).agents:
                if row.agent_id == agent_id:
                    return row
        raise not_found("agent")

    async def conversation(self, conversation_id: str) -> ConversationRecord:
        """The conversation of that id, with an agent of the principal's. Raises NotFound."""
        if conversation_id.startswith(DEFAULT_PREFIX):
            row = await self._agent_or("conversation", conversation_id.removeprefix(DEFAULT_PREFIX))
            return default_conversation(row.agent_id)
        record = await self._learned("conversation", "conv", conversation_id, self._loaders.conversation)
        await self._agent_or("conversation", record.agent_id)
        return record

    async def run(self, run_id: str) -> RunRecord:
        """The run of that id, by an agent of the principal's. Raises NotFound."""
        record = await self._learned("run", "run", run_id, self._loaders.run)
        await self._agent_or("run", record.agent_id or "")
        return record

    async def step(self, step_id: str) -> StepRecord:
        """The step of that id, by an agent of the principal's. Raises NotFound."""
        record = await self._learned("step", "step", step_id, self._loaders.step)
        await self._agent_or("step", record.agent_id or "")
        return record

    async def writable_block(self, block_id: str) -> None:
        """Whether every agent that a memory block is attached to is the principal's. Raises NotFound."""
        agents = await self._learned("memory block", "block", block_id, self._loaders.block_agents)
        if not agents or not agents <= await self._mine():
            raise not_found("memory block")

    async def scope(self, scope: str) -> None:
        """Whether a message scope (``conv-…`` or ``agent-…``) is the principal's. Raises NotFound."""
        if scope.startswith("agent-"):
            await self._agent_or("message", scope)
        else:
            await self.conversation(scope)

    async def model_key(self) -> str:
        """The key that pays for the principal's model calls: their own, else the platform's."""
        key = (await self.profile()).litellm_key or self._platform_key
        if key is None:
            raise UpstreamError(
                "No LiteLLM key is configured for your model calls. Ask the operator for one.",
                reason=Reason.CREDENTIAL,
                service=Service.LITELLM,
                can_retry=False,
            )
        return key

    async def _mine(self) -> set[str]:
        return {row.agent_id for row in (await self.profile()).agents}

    async def _learned(self, kind: str, prefix: str, key: str, loader: Loader[str, R]) -> R:
        """The one read that learns whose something is; not even that for who has no agents. Raises NotFound."""
        if not is_letta_id(key, prefix) or not (await self.profile()).agents:
            raise not_found(kind)
        try:
            return await loader.load(key)
        except NotFound as error:
            raise not_found(kind) from error

    async def _agent_or(self, kind: str, agent_id: str) -> AgentRow:
        try:
            return await self.agent(agent_id)
        except NotFound as error:
            raise not_found(kind) from error


def not_found(kind: str) -> NotFound:
    """The one answer for what does not exist and for what is somebody else's."""
    return NotFound(f"The {kind} does not exist.")


def default_conversation(agent_id: str) -> ConversationRecord:
    """An agent's own conversation, which Letta keeps no record of."""
    return ConversationRecord(id=f"{DEFAULT_PREFIX}{agent_id}", agent_id=agent_id)


def scope_of(conversation: ConversationRecord) -> str:
    """Where Letta keeps the conversation's messages: ``conv-…``, or ``agent-…`` for a default conversation."""
    return conversation.agent_id if conversation.id.startswith(DEFAULT_PREFIX) else conversation.id
