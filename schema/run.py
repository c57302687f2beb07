"""Runs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Parent

from clients.letta.records import RunRecord, RunStatus, StepRecord, StepStatus
from clients.litellm import ModelRecord
from resolvers import models, runs, turns
from resolvers.info import Info
from resolvers.owned import OwnedAgent, OwnedConversation, OwnedRun, default_conversation
from schema.base import answered_by, described, entity, enum, reads
from schema.connections import Connection, Edge
from schema.costs import SHARED, assumed, calls
from schema.node import Node

if TYPE_CHECKING:
    from schema.agent import Agent
    from schema.conversation import Conversation
    from schema.model import Model
    from schema.stream import Stream, Usage

enum(
    RunStatus,
    "Where a run stands.",
    CREATED="It has not begun to work.",
    RUNNING="It is at work.",
    COMPLETED="It has ended, or waits for a decision on tool calls.",
    FAILED="It has ended by an error: see `stopReason`.",
    CANCELLED="It was stopped.",
    UNKNOWN="In a state this gateway does not know.",
)
enum(
    StepStatus,
    "How a step went.",
    PENDING="It is not over.",
    SUCCESS="The model answered.",
    FAILED="The model did not answer: see `stopReason`.",
    CANCELLED="It was stopped.",
    UNKNOWN="In a state this gateway does not know.",
)


async def _agent(record: Parent[OwnedRun], info: Info) -> OwnedAgent:
    return await info.context.access.agent(record.agent_id)


async def _conversation(record: Parent[OwnedRun], info: Info) -> OwnedConversation:
    if record.conversation_id is None:
        return default_conversation(record.agent_id)
    return await info.context.access.conversation(record.conversation_id)


async def _step_run(record: Parent[StepRecord], info: Info) -> OwnedRun | None:
    return await turns.run_of(info.context, record.run_id)


async def _step_model(record: Parent[StepRecord], info: Info) -> ModelRecord | None:
    return await models.model_if_callable(info.context, record.model_name)


@entity(description="One call of the model within a run.")
@reads(StepRecord)
class Step(Node):
    """The GraphQL face of StepRecord."""

    status: StepStatus = described("How it went.")
    stop_reason: str | None = described("Why it stopped, in Letta's word, such as `end_turn` or `llm_api_error`.")
    model_name: str | None = described("The name of the model that was called.")
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        _step_model,
        "The model that was called; null where your key may not call that model.",
        optional=True,
        costs=[SHARED],
    )
    provider: str | None = described("Who serves that model, as Letta knows it.")
    usage: Annotated[Usage, strawberry.lazy("schema.stream")] = described("The tokens it took.")
    run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        _step_run, "The run it is part of.", optional=True, costs=[calls()]
    )


@entity(description="One turn's work: from the message that started it to the reason it stopped.")
@reads(RunRecord)
class Run(Node):
    """The GraphQL face of RunRecord."""

    status: RunStatus = described("Where it stands.")
    stop_reason: str | None = described("Why it stopped, in Letta's word, such as `end_turn`.")
    agent: Annotated[Agent, strawberry.lazy("schema.agent")] | None = answered_by(_agent, "The agent at work.")
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversation, "The conversation it happens in.", costs=[calls()]
    )
    stream: Annotated[Stream, strawberry.lazy("schema.stream")] | None = answered_by(
        runs.stream, "Where its answer can be read; null once that has expired.", optional=True
    )
    usage: Annotated[Usage, strawberry.lazy("schema.stream")] | None = answered_by(
        runs.usage, "The tokens of all its steps so far.", costs=[calls()]
    )
    steps: list[Step] | None = answered_by(
        runs.steps, "Its calls of the model, oldest first; the first 100.", costs=[calls(), assumed(5)]
    )
    created_at: datetime | None = described("When it was started.")
    completed_at: datetime | None = described("When it ended.")
    time_to_first_token_ms: int | None = described("From its start to its first token, in milliseconds.")


@strawberry.type(description="A page of runs, newest first.")
class RunConnection(Connection[Run]):
    """Relay connection."""


RunEdge = Edge[Run]
