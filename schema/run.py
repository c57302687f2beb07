"""The GraphQL types for runs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Parent

from clients.letta.records import RunRecord, RunStatus, StepRecord, StepStatus
from resolvers import runs, turns
from resolvers.info import Info
from resolvers.owned import OwnedAgent, OwnedConversation, OwnedRun, default_conversation
from schema import named
from schema.base import answered_by, described, entity, enum, object_type
from schema.connections import Connection, Edge
from schema.costs import assumed, calls
from schema.model import Model, called_model
from schema.node import Node

if TYPE_CHECKING:
    from schema.agent import Agent
    from schema.conversation import Conversation
    from schema.stream import Stream, Usage

enum(
    RunStatus,
    "The status of a run.",
    CREATED="The run has not started.",
    RUNNING="The run is in progress.",
    COMPLETED="The run has ended, or waits for a decision on tool calls.",
    FAILED="The run failed. `stopReason` has the reason.",
    CANCELLED="The run was cancelled.",
    UNKNOWN="A status that the gateway does not know.",
)
enum(
    StepStatus,
    "The status of a step.",
    PENDING="The step is in progress.",
    SUCCESS="The model answered.",
    FAILED="The model call failed. `stopReason` has the reason.",
    CANCELLED="The step was cancelled.",
    UNKNOWN="A status that the gateway does not know.",
)


async def _agent(record: Parent[OwnedRun], info: Info) -> OwnedAgent:
    return await info.context.access.agent(record.agent_id)


async def _conversation(record: Parent[OwnedRun], info: Info) -> OwnedConversation:
    if record.conversation_id is None:
        return default_conversation(record.agent_id)
    return await info.context.access.conversation(record.conversation_id)


async def run_of(record: Parent[Any], info: Info) -> OwnedRun | None:
    """Return the run whose id is the record's ``run_id``."""
    return await turns.run_of(info.context, record.run_id)


@entity("One call to a model within a run.", StepRecord)
class Step(Node):
    status: StepStatus = described("The step's status.")
    stop_reason: str | None = described(
        "Letta's reason for the end of the step, such as `end_turn` or `llm_api_error`."
    )
    model_name: str | None = described("The name of the model that was called.")
    model: Model | None = called_model("The model that was called.")
    provider: str | None = described("The model's provider, as Letta names it.")
    usage: Annotated[Usage, strawberry.lazy("schema.stream")] = described("The step's token counts.")
    run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        run_of, "The step's run.", optional=True, costs=[calls()], held=named.RUN
    )


@entity("Letta's record of one turn, from the message that started the turn to the end of the answer.", RunRecord)
class Run(Node):
    status: RunStatus = described("The run's status.")
    stop_reason: str | None = described("Letta's reason for the end of the run, such as `end_turn`.")
    agent: Annotated[Agent, strawberry.lazy("schema.agent")] | None = answered_by(
        _agent, "The run's agent.", held=named.AGENT
    )
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversation, "The run's conversation.", costs=[calls()], held=named.RUNS_CONVERSATION
    )
    stream: Annotated[Stream, strawberry.lazy("schema.stream")] | None = answered_by(
        runs.stream,
        "The stream of the run's answer. Null if the stream has expired or never existed.",
        optional=True,
    )
    usage: Annotated[Usage, strawberry.lazy("schema.stream")] | None = answered_by(
        runs.usage, "The token counts of all the run's steps so far.", costs=[calls()]
    )
    steps: list[Step] | None = answered_by(
        runs.steps, "The run's first 100 model calls, oldest first.", costs=[calls(), assumed(5)]
    )
    created_at: datetime | None = described("When the run was created.")
    completed_at: datetime | None = described("When the run ended.")
    time_to_first_token_ms: int | None = described("Time from the run's start to its first token, in milliseconds.")


@object_type("A page of runs, newest first.")
class RunConnection(Connection[Run]):
    """A Relay connection of runs."""


RunEdge = Edge[Run]
