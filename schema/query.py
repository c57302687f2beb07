"""What can be asked."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import ID

from clients.ams import AgentRow, TemplateRecord, TemplateValidation
from clients.letta.records import ConversationRecord, RunRecord
from clients.litellm import ModelMode, ModelRecord
from resolvers import models, templates
from resolvers.info import Info
from resolvers.paging import Page, window
from resolvers.platform import PlatformRecord
from resolvers.principal import Principal
from resolvers.streams.stream import Stream as StreamRecord
from schema.agent import Agent
from schema.arguments import After, First
from schema.base import answered_by, derived
from schema.conversation import Conversation
from schema.costs import PAGE, SHARED, SIZED_BY, assumed, calls
from schema.model import Model
from schema.node import MAX_NODES, Node, resolve, resolve_each, template_slug
from schema.platform import Platform
from schema.run import Run
from schema.stream import Stream
from schema.template import Template, TemplateConnection, TemplateValidationType
from schema.user import User


def _viewer(info: Info) -> Principal:
    return info.context.principal


async def _node(
    info: Info,
    id: Annotated[ID, strawberry.argument(description="The id of anything that is a `Node`.")],  # noqa: A002 - the argument's name in the graph
) -> object:
    return await resolve(info.context, id)


async def _nodes(
    info: Info,
    ids: Annotated[
        list[ID],
        strawberry.argument(description="The ids of anything that is a `Node`, at most 100.", directives=[calls()]),
    ],
) -> list[object | Exception]:
    return await resolve_each(info.context, ids)


async def _agent(
    info: Info,
    id: Annotated[ID, strawberry.argument(description="The agent's id.")],  # noqa: A002 - the argument's name in the graph
) -> AgentRow:
    return await info.context.access.agent(id)


async def _conversation(
    info: Info,
    id: Annotated[ID, strawberry.argument(description="The conversation's id.")],  # noqa: A002 - as above
) -> ConversationRecord:
    return await info.context.access.conversation(id)


async def _run(
    info: Info,
    id: Annotated[ID, strawberry.argument(description="The run's id.")],  # noqa: A002 - the argument's name in the graph
) -> RunRecord:
    return await info.context.access.run(id)


def _stream(
    info: Info,
    id: Annotated[ID, strawberry.argument(description="The stream's id.")],  # noqa: A002 - the argument's name in the graph
) -> StreamRecord:
    return info.context.resources.streams.get(id, info.context.owner)


async def _template(
    info: Info,
    id: Annotated[ID, strawberry.argument(description="The template's id.")],  # noqa: A002 - the argument's name in the graph
) -> TemplateRecord:
    return await templates.by_slug(info.context, template_slug(id))


async def _templates(
    info: Info,
    first: First = None,
    after: After = None,
    search: Annotated[
        str | None, strawberry.argument(description="Words to look for, as AMS's own search takes them.")
    ] = None,
) -> Page[TemplateRecord]:
    return await templates.template_page(info.context, window(first, after), search)


async def _template_validation(
    info: Info,
    source: Annotated[
        str, strawberry.argument(description="The Agent File, YAML or JSON text of at most 500,000 bytes.")
    ],
) -> TemplateValidation:
    return await templates.validation(info.context, source)


async def _models(
    info: Info,
    mode: Annotated[
        ModelMode | None, strawberry.argument(description="Only models of this mode; all without one.")
    ] = None,
) -> list[ModelRecord]:
    return await models.models(info.context, mode)


async def _platform(info: Info) -> PlatformRecord:
    return await info.context.resources.health.look(info.context.scope)


@strawberry.type(description="What can be asked. What is not yours does not exist: it is null, with a NOT_FOUND error.")
class Query:
    """The root of queries."""

    viewer: User = derived(_viewer, "You.")
    node: Node | None = answered_by(_node, "Anything by its global id.", costs=[calls()])
    nodes: list[Node | None] = answered_by(
        _nodes,
        "Several things by their global ids, at most 100, in the order of the ids; null, with an error, for each that "
        "there is not.",
        levels=[1],
        costs=[assumed(MAX_NODES)],
        metadata={SIZED_BY: "ids"},
    )
    agent: Agent | None = answered_by(_agent, "One of your agents.", costs=[SHARED])
    conversation: Conversation | None = answered_by(
        _conversation, "A conversation with one of your agents.", costs=[calls()]
    )
    run: Run | None = answered_by(_run, "A run of one of your agents.", costs=[calls()])
    stream: Stream | None = answered_by(_stream, "One of your streams, while it runs and for a while afterwards.")
    template: Template | None = answered_by(_template, "A template that you may use.", costs=[SHARED])
    templates: TemplateConnection | None = answered_by(
        _templates,
        "The templates you may use, in the order that AMS keeps them; with `search`, those that it matches.",
        costs=[calls(), PAGE],
    )
    template_validation: TemplateValidationType | None = answered_by(
        _template_validation, "What is wrong with an Agent File (YAML or JSON text), if anything is.", costs=[calls()]
    )
    models: list[Model] | None = answered_by(
        _models, "The models your key may call, by name; of one mode, or all.", costs=[SHARED, assumed(100)]
    )
    platform: Platform = derived(_platform, "The gateway and what stands behind it.", costs=[calls(3)])
