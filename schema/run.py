"""Runs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Parent

from clients.ams import AgentRow
from clients.letta.records import ConversationRecord, RunRecord, RunStatus
from resolvers import runs
from resolvers.access import default_conversation
from resolvers.info import Info
from schema.base import answered_by, described, entity, reads
from schema.node import Node

if TYPE_CHECKING:
    from schema.agent import Agent
    from schema.conversation import Conversation
    from schema.stream import Stream

strawberry.enum(RunStatus, name="RunStatus", description="Where a run stands.")


async def _agent(record: Parent[RunRecord], info: Info) -> AgentRow:
    return await info.context.access.agent(record.agent_id or "")


async def _conversation(record: Parent[RunRecord], info: Info) -> ConversationRecord:
    if record.conversation_id is None:
        return default_conversation(record.agent_id or "")
    return await info.context.access.conversation(record.conversation_id)


@entity(description="One turn's work: from the message that started it to the reason it stopped.")
@reads(RunRecord)
class Run(Node):
    """The GraphQL face of RunRecord."""

    status: RunStatus = described("Where it stands.")
    stop_reason: str | None = described("Why it stopped, in Letta's word, such as `end_turn`.")
    agent: Annotated[Agent, strawberry.lazy("schema.agent")] | None = answered_by(_agent, "The agent at work.")
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversation, "The conversation it happens in."
    )
    stream: Annotated[Stream, strawberry.lazy("schema.stream")] | None = answered_by(
        runs.stream, "Where its answer can be read; null once that has expired.", optional=True
    )
    created_at: datetime | None = described("When it was started.")
    completed_at: datetime | None = described("When it ended.")
    time_to_first_token_ms: int | None = described("From its start to its first token, in milliseconds.")
