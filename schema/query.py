"""What can be asked."""

from __future__ import annotations

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
from schema.base import answered_by, derived
from schema.conversation import Conversation
from schema.model import Model
from schema.node import Node, resolve, resolve_each, template_slug
from schema.platform import Platform
from schema.run import Run
from schema.stream import Stream
from schema.template import Template, TemplateConnection, TemplateValidationType
from schema.user import User


def _viewer(info: Info) -> Principal:
    return info.context.principal


async def _node(info: Info, id: ID) -> object:  # noqa: A002 - the argument's name in the graph
    return await resolve(info.context, id)


async def _nodes(info: Info, ids: list[ID]) -> list[object | Exception]:
    return await resolve_each(info.context, ids)


async def _agent(info: Info, id: ID) -> AgentRow:  # noqa: A002 - the argument's name in the graph
    return await info.context.access.agent(id)


async def _conversation(info: Info, id: ID) -> ConversationRecord:  # noqa: A002 - the argument's name in the graph
    return await info.context.access.conversation(id)


async def _run(info: Info, id: ID) -> RunRecord:  # noqa: A002 - the argument's name in the graph
    return await info.context.access.run(id)


def _stream(info: Info, id: ID) -> StreamRecord:  # noqa: A002 - the argument's name in the graph
    return info.context.resources.streams.get(id, info.context.principal.user_id)


async def _template(info: Info, id: ID) -> TemplateRecord:  # noqa: A002 - the argument's name in the graph
    return await templates.by_slug(info.context, template_slug(id))


async def _templates(
    info: Info, first: int | None = None, after: str | None = None, search: str | None = None
) -> Page[TemplateRecord]:
    return await templates.template_page(info.context, window(first, after), search)


async def _template_validation(info: Info, source: str) -> TemplateValidation:
    return await templates.validation(info.context, source)


async def _models(info: Info, mode: ModelMode | None = None) -> list[ModelRecord]:
    return await models.models(info.context, mode)


async def _platform(info: Info) -> PlatformRecord:
    return await info.context.resources.health.look(info.context.scope)


@strawberry.type(description="What can be asked. What is not yours does not exist: it is null, with a NOT_FOUND error.")
class Query:
    """The root of queries."""

    viewer: User = derived(_viewer, "You.")
    node: Node | None = answered_by(_node, "Anything by its global id.")
    nodes: list[Node | None] = answered_by(
        _nodes,
        "Several things by their global ids, at most 100, in the order of the ids; null, with an error, for each that "
        "there is not.",
        levels=[1],
    )
    agent: Agent | None = answered_by(_agent, "One of your agents.")
    conversation: Conversation | None = answered_by(_conversation, "A conversation with one of your agents.")
    run: Run | None = answered_by(_run, "A run of one of your agents.")
    stream: Stream | None = answered_by(_stream, "One of your streams, while it runs and for a while afterwards.")
    template: Template | None = answered_by(_template, "A template that you may use.")
    templates: TemplateConnection | None = answered_by(
        _templates, "The templates you may use, in the order that AMS keeps them; with `search`, those that it matches."
    )
    template_validation: TemplateValidationType | None = answered_by(
        _template_validation, "What is wrong with an Agent File (YAML or JSON text), if anything is."
    )
    models: list[Model] | None = answered_by(_models, "The models your key may call, by name; of one mode, or all.")
    platform: Platform = derived(_platform, "The gateway and what stands behind it.")
