"""Agents and what belongs to them alone."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import ID, Parent
from strawberry.scalars import JSON

from clients.ams import AgentRow, UpgradeChange, UpgradePlan, UpgradeStep
from clients.letta import records
from clients.letta.messages import MessageRecord
from clients.letta.records import MemoryBlockRecord, PassageRecord, ToolRecord
from clients.owned import ConversationRef
from resolvers import agents, conversations, messages, passages, runs
from resolvers.info import Info
from resolvers.owned import OwnedAgent, OwnedConversation, OwnedRun
from resolvers.paging import DEFAULT_PAGE, Page, window
from resolvers.runs import AgentStatus
from schema.arguments import After, Before, First, Last
from schema.base import answered_by, derived, described, entity, enum, reads
from schema.connections import CountedConnection, TwoWayEdge
from schema.costs import LIMITED, PAGE, SHARED, TWO_WAY_PAGE, assumed, calls
from schema.node import Node, template_slug
from schema.template import Template

if TYPE_CHECKING:
    from schema.conversation import Conversation, ConversationConnection
    from schema.message import MessageConnection
    from schema.model import Model
    from schema.passage import MemoryHit, PassageConnection
    from schema.run import RunConnection
    from schema.user import User

enum(
    AgentStatus,
    "Whether an agent is at work.",
    IDLE="None of its runs is going.",
    RUNNING="One of its runs is going, at least.",
    UNKNOWN="Its runs are in states this gateway does not know.",
)


@entity(description="A block of core memory: what the agent always has before its eyes.")
@reads(MemoryBlockRecord)
class MemoryBlock(Node):
    """The GraphQL face of MemoryBlockRecord."""

    label: str = described("What the block is called, such as `human` or `persona`.")
    value: str = described("What stands in it.")
    limit: int | None = described("How many characters fit in.")
    description: str | None = described("What the agent is told the block is for.")
    read_only: bool = described("Whether the agent is kept from changing it.")


@entity(description="A tool that an agent can call.")
@reads(ToolRecord)
class Tool(Node):
    """The GraphQL face of ToolRecord."""

    name: str | None = described("The name the model calls it by.")
    description: str | None = described("What the model is told it does.")
    type: str | None = described("What kind of tool it is, in Letta's word, such as `custom` or `letta_core`.")
    json_schema: JSON | None = described("How it is called, as OpenAI's function schema.")
    tags: list[str] = described("Its tags.")
    requires_approval: bool | None = described(
        "Whether a person is asked before it is called, unless the agent is told otherwise; null is no."
    )


@strawberry.input(description="Which agents: those that fit all that is given.")
class AgentFilter:
    """A filter of ``User.agents``."""

    template_id: ID | None = strawberry.field(
        default=None, description="Made from this template. AMS tells that with the list: it costs nothing more."
    )
    tag: str | None = strawberry.field(
        default=None,
        directives=[calls()],
        description="With this tag. Letta is asked once for every hundred that fit. Agents of before the platform "
        "tagged its own are not found.",
    )
    search: str | None = strawberry.field(
        default=None,
        directives=[calls()],
        description="With this text in the name, in whatever case. Costs, and finds, as `tag` does.",
    )

    def wanted(self) -> agents.Wanted:
        """As the resolver takes it."""
        slug = None if self.template_id is None else template_slug(self.template_id)
        return agents.Wanted(template_slug=slug, tag=self.tag, search=self.search)


@strawberry.type(name="UpgradeStep", description="A migration on the way of an upgrade: from a version to the next.")
@reads(UpgradeStep)
class UpgradeStepType:
    """The GraphQL face of UpgradeStep."""

    from_version: str | None = described("The version it starts from.")
    to_version: str | None = described("The version it leads to.")
    actions: list[str] = described("The types of what it does, in order, such as `json_patch` and `script`.")


@strawberry.type(name="UpgradeChange", description="A change of the Agent File (JSON Patch, RFC 6902).")
@reads(UpgradeChange)
class UpgradeChangeType:
    """The GraphQL face of UpgradeChange."""

    op: str = described("What is done: `add`, `replace` or `remove`.")
    path: str = described("Where (JSON Pointer).")
    value: JSON | None = described("What is to stand there.")


@strawberry.type(name="UpgradePlan", description="What an upgrade would do. Nothing of it has been done.")
@reads(UpgradePlan)
class UpgradePlanType:
    """The GraphQL face of the record of that name."""

    steps: list[UpgradeStepType] = described(
        "The migrations on the way, in order; empty where the agent is there.", costs=[assumed(20)]
    )
    diff: list[UpgradeChangeType] = described("What they change, in order.", costs=[assumed(20)])
    warnings: list[str] = described("What a person should know before.")


async def _conversations(
    row: Parent[OwnedAgent],
    info: Info,
    first: First = None,
    after: After = None,
    search: Annotated[
        str | None, strawberry.argument(description="Only those whose summary contains this, letter for letter.")
    ] = None,
) -> Page[OwnedConversation]:
    return await conversations.conversation_page(info.context, row.agent_id, window(first, after), search)


async def _passages(
    row: Parent[OwnedAgent], info: Info, first: First = None, after: After = None
) -> Page[PassageRecord]:
    return await passages.passage_page(info.context, row.agent_id, window(first, after))


async def _search_memory(
    row: Parent[OwnedAgent],
    info: Info,
    query: Annotated[str, strawberry.argument(description="What to look for, in plain words.")],
    limit: Annotated[int | None, strawberry.argument(description="How many to find: 1 to 100.")] = DEFAULT_PAGE,
) -> list[records.MemoryHit]:
    return await passages.search(info.context, row.agent_id, query, limit)


async def _runs(
    row: Parent[OwnedAgent],
    info: Info,
    active: Annotated[
        bool | None,
        strawberry.argument(description="`true` for those still going, `false` for those that are over; all without."),
    ] = None,
    first: First = None,
    after: After = None,
) -> Page[OwnedRun]:
    return await runs.run_page(info.context, row.agent_id, window(first, after), active)


async def _messages(
    row: Parent[OwnedAgent],
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Page[MessageRecord]:
    asked = window(first, after, last, before, newest=True)
    return await messages.message_page(info.context, ConversationRef(row.agent_id), asked)


@entity(description="An agent you own: AMS knows whose it is, Letta keeps its state.")
@reads(AgentRow)
class Agent(Node):
    """The GraphQL face of AgentRow; what Letta keeps is answered by resolvers."""

    owner: Annotated[User, strawberry.lazy("schema.user")] = derived(agents.owner, "Whose it is: yours.")
    version: str | None = described("The version of its template that it runs (SemVer).")
    template: Template | None = answered_by(
        agents.template, "The template it was made from.", optional=True, costs=[SHARED]
    )
    variables: JSON | None = answered_by(
        agents.variables,
        "What the template's variables were filled with; null where AMS does not tell.",
        optional=True,
        costs=[SHARED],
    )
    upgrade_plan: UpgradePlanType | None = answered_by(
        agents.upgrade_plan,
        "What `upgradeAgent` would do, to a version or to the latest; a call to AMS for each agent. Where no "
        "migrations lead there, the error's reason is NO_MIGRATION_PATH.",
        arguments={"to": "The version (SemVer); the latest without one."},
        costs=[calls(2)],
    )
    name: str | None = answered_by(agents.name, "Its name.", costs=[SHARED])
    description: str | None = answered_by(agents.description, "What it is for.", optional=True, costs=[SHARED])
    model_name: str | None = answered_by(
        agents.model_name,
        "The name of the model it thinks with; null where Letta names none.",
        optional=True,
        costs=[SHARED],
    )
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        agents.model,
        "The model it thinks with; null where your key may not call that model.",
        optional=True,
        costs=[SHARED],
    )
    tags: list[str] | None = answered_by(agents.tags, "Its tags.", costs=[SHARED])
    tools: list[Tool] | None = answered_by(agents.tools, "The tools it can call.", costs=[SHARED, assumed(20)])
    status: AgentStatus | None = answered_by(
        runs.agent_status, "Whether it is at work, in any of its conversations.", costs=[SHARED]
    )
    memory_blocks: list[MemoryBlock] | None = answered_by(
        agents.memory_blocks,
        "Its core memory.",
        arguments={"labels": "Only the blocks of these labels, such as `human`; all without."},
        costs=[SHARED, assumed(20)],
    )
    passages: Annotated[PassageConnection, strawberry.lazy("schema.passage")] | None = answered_by(
        _passages, "Its archival memory, newest first.", costs=[calls(), PAGE]
    )
    search_memory: list[Annotated[MemoryHit, strawberry.lazy("schema.passage")]] | None = answered_by(
        _search_memory,
        "The passages of its archival memory that are nearest in meaning to a query, best first.",
        costs=[calls(), LIMITED],
    )
    default_conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        agents.conversation_of, "The conversation it has by itself, without one being made."
    )
    conversations: Annotated[ConversationConnection, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversations,
        "The conversations made with it, newest first. The default conversation is not among them.",
        costs=[calls(), PAGE],
    )
    messages: Annotated[MessageConnection, strawberry.lazy("schema.message")] | None = answered_by(
        _messages,
        "The messages of its default conversation, oldest first; without arguments the newest 20.",
        costs=[calls(), TWO_WAY_PAGE],
    )
    runs: Annotated[RunConnection, strawberry.lazy("schema.run")] | None = answered_by(
        _runs, "What it has worked on, newest first.", costs=[calls(), PAGE]
    )
    created_at: datetime | None = described("When it was made.")
    updated_at: datetime | None = described("When AMS last changed its row.")


@strawberry.type(description="A page of agents, newest first.")
class AgentConnection(CountedConnection[Agent]):
    """Relay connection."""


AgentEdge = TwoWayEdge[Agent]
