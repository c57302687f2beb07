"""The GraphQL types for agents, and types that only fields of agents return."""

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
from schema import named
from schema.arguments import After, Before, First, Last
from schema.base import answered_by, derived, described, entity, enum, object_type, optional, shows
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
    "Whether an agent has a run in progress. A run is Letta's record of one answer.",
    IDLE="The agent has no run in progress.",
    RUNNING="The agent has at least one run in progress.",
    UNKNOWN="Letta reported a run status that the gateway does not know.",
)


@entity(
    "A named text in an agent's core memory. All prompts of the agent include the core memory.",
    MemoryBlockRecord,
)
class MemoryBlock(Node):
    label: str = described("The block's label, such as `human` or `persona`.")
    value: str = described("The block's text.")
    limit: int | None = described("Maximum length of `value`, in characters.")
    description: str | None = described("The block's purpose. Letta includes this text in the agent's prompts.")
    read_only: bool = described("Whether the block is read-only for the agent.")


@entity("A tool that an agent can call.", ToolRecord)
class Tool(Node):
    name: str | None = described("The function name with which the model calls the tool.")
    description: str | None = described("The tool's description, as the model receives it.")
    type: str | None = described("The tool's type in Letta, such as `custom` or `letta_core`.")
    json_schema: JSON | None = described("The tool's definition, as an OpenAI function schema.")
    tags: list[str] = described("The tool's tags.")
    requires_approval: bool | None = described(
        "Whether a call of the tool needs the user's approval by default. An agent can override this default. Null has "
        "the same meaning as false."
    )


@strawberry.input(description="A filter for a list of agents. An agent must match all fields that are set.")
class AgentFilter:
    template_id: ID | None = optional(
        "Matches agents that were created from this template. This filter needs no additional call to a service."
    )
    tag: str | None = optional(
        "Matches agents that have this tag. The filter needs one call to Letta per 100 matching agents. Agents that "
        "were created before the platform began to tag agents in Letta do not match.",
        costs=[calls()],
    )
    search: str | None = optional(
        "Matches agents whose name contains this text, ignoring case. The filter needs one call to Letta per "
        "100 matching agents. Agents that were created before the platform began to tag agents in Letta do not match.",
        costs=[calls()],
    )

    def criteria(self) -> agents.Criteria:
        """Convert the filter to the resolver's ``Criteria``."""
        slug = None if self.template_id is None else template_slug(self.template_id)
        return agents.Criteria(template_slug=slug, tag=self.tag, search=self.search)


@shows(
    "A migration that an upgrade runs, from one template version to another.",
    UpgradeStep,
    name="UpgradeStep",
)
class UpgradeStepType:
    from_version: str | None = described("The template version before the migration.")
    to_version: str | None = described("The template version after the migration.")
    actions: list[str] = described("The types of the migration's actions, in order, such as `json_patch` and `script`.")


@shows(
    "A change to the agent's Agent File, as a JSON Patch operation (RFC 6902).",
    UpgradeChange,
    name="UpgradeChange",
)
class UpgradeChangeType:
    op: str = described("The operation: `add`, `replace` or `remove`.")
    path: str = described("The location of the change, as a JSON Pointer (RFC 6901).")
    value: JSON | None = described("The new value. Null for `remove`.")


@shows(
    "A preview of an agent's upgrade. Reading the preview does not change the agent.", UpgradePlan, name="UpgradePlan"
)
class UpgradePlanType:
    steps: list[UpgradeStepType] = described(
        "The upgrade's migrations, in order. Empty if the agent already has the target version.",
        costs=[assumed(20)],
    )
    diff: list[UpgradeChangeType] = described(
        "The changes that the upgrade makes to the Agent File, in order.", costs=[assumed(20)]
    )
    warnings: list[str] = described("Warnings to show to the user before the upgrade.")


async def _conversations(
    row: Parent[OwnedAgent],
    info: Info,
    first: First = None,
    after: After = None,
    search: Annotated[
        str | None,
        strawberry.argument(
            description="Returns only conversations whose summary contains this text. The search is case-sensitive."
        ),
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
    query: Annotated[
        str, strawberry.argument(description="The search text in natural language, at most 2,000 characters.")
    ],
    limit: Annotated[
        int | None, strawberry.argument(description="Maximum number of results, 1 to 100.")
    ] = DEFAULT_PAGE,
) -> list[records.MemoryHit]:
    return await passages.search(info.context, row.agent_id, query, limit)


async def _runs(
    row: Parent[OwnedAgent],
    info: Info,
    active: Annotated[
        bool | None,
        strawberry.argument(
            description="`true` returns only runs in progress, and `false` returns only runs that have ended. Null "
            "returns all runs."
        ),
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
    page = window(first, after, last, before, newest=True)
    return await messages.message_page(info.context, ConversationRef(row.agent_id), page)


@entity(
    "An AI agent of the signed-in user. The Agent Management Service (AMS) records the agent's owner, and Letta stores "
    "the agent's state.",
    AgentRow,
)
class Agent(Node):
    owner: Annotated[User, strawberry.lazy("schema.user")] = derived(agents.owner, "The user who owns the agent.")
    version: str | None = described("The version (SemVer) of the agent's template.")
    template: Template | None = answered_by(
        agents.template,
        "The template from which the agent was created. Null if AMS reports no template.",
        optional=True,
        costs=[SHARED],
        held=named.TEMPLATE,
    )
    variables: JSON | None = answered_by(
        agents.variables,
        "The agent's values for the template's variables. Null if AMS does not return variables.",
        optional=True,
        costs=[SHARED],
    )
    upgrade_plan: UpgradePlanType | None = answered_by(
        agents.upgrade_plan,
        "A preview of `upgradeAgent`. Each preview needs one call to AMS. If no migrations lead to the target "
        "version, the field fails with the reason NO_MIGRATION_PATH.",
        arguments={"to": "The target version (SemVer). Default: the template's latest version."},
        costs=[calls(2)],
    )
    name: str | None = answered_by(agents.name, "The agent's name.", costs=[SHARED])
    description: str | None = answered_by(
        agents.description, "The agent's purpose, as free text.", optional=True, costs=[SHARED]
    )
    model_name: str | None = answered_by(
        agents.model_name,
        "The name of the agent's chat model. Null if Letta reports no model.",
        optional=True,
        costs=[SHARED],
    )
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        agents.model,
        "The agent's chat model. Null if the user's LiteLLM key does not permit calls to the model.",
        optional=True,
        costs=[SHARED],
    )
    tags: list[str] | None = answered_by(agents.tags, "The agent's tags.", costs=[SHARED])
    tools: list[Tool] | None = answered_by(agents.tools, "Tools that the agent can call.", costs=[SHARED, assumed(20)])
    status: AgentStatus | None = answered_by(
        runs.agent_status, "Whether the agent has a run in progress in any conversation.", costs=[SHARED]
    )
    memory_blocks: list[MemoryBlock] | None = answered_by(
        agents.memory_blocks,
        "The agent's core memory.",
        arguments={"labels": "Returns only blocks with these labels, such as `human`. Default: all blocks."},
        costs=[SHARED, assumed(20)],
    )
    passages: Annotated[PassageConnection, strawberry.lazy("schema.passage")] | None = answered_by(
        _passages, "The passages (texts) in the agent's archival memory, newest first.", costs=[calls(), PAGE]
    )
    search_memory: list[Annotated[MemoryHit, strawberry.lazy("schema.passage")]] | None = answered_by(
        _search_memory,
        "Searches the agent's archival memory by meaning. The best match comes first.",
        costs=[calls(), LIMITED],
    )
    default_conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        agents.conversation_of, "The agent's default conversation, which exists from the agent's creation."
    )
    conversations: Annotated[ConversationConnection, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversations,
        "Conversations between the user and the agent, newest first. The default conversation is not included.",
        costs=[calls(), PAGE],
    )
    messages: Annotated[MessageConnection, strawberry.lazy("schema.message")] | None = answered_by(
        _messages,
        "Messages of the default conversation, oldest first. Without arguments, the page has the last 20 messages.",
        costs=[calls(), TWO_WAY_PAGE],
    )
    runs: Annotated[RunConnection, strawberry.lazy("schema.run")] | None = answered_by(
        _runs, "The agent's runs, newest first.", costs=[calls(), PAGE]
    )
    created_at: datetime | None = described("When the agent was created.")
    updated_at: datetime | None = described("When AMS last changed its record of the agent.")


@object_type("A page of agents, newest first.")
class AgentConnection(CountedConnection[Agent]):
    """A Relay connection of agents."""


AgentEdge = TwoWayEdge[Agent]
