"""The root type of queries."""

from typing import Annotated

import strawberry
from strawberry import ID

from clients.ams import TemplateRecord, TemplateValidation
from clients.litellm import ModelMode, ModelRecord
from resolvers import models, templates
from resolvers.info import Info
from resolvers.owned import OwnedAgent, OwnedConversation, OwnedRun
from resolvers.paging import Page, window
from resolvers.platform import PlatformRecord
from resolvers.principal import Principal
from resolvers.streams.stream import Stream as StreamRecord
from schema.access import SIGNED_IN
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


async def _node(info: Info, id: Annotated[ID, strawberry.argument(description="The node's global id.")]) -> object:
    return await resolve(info.context, id)


async def _nodes(
    info: Info,
    ids: Annotated[
        list[ID], strawberry.argument(description="Global ids of nodes, at most 100.", directives=[calls()])
    ],
) -> list[object | Exception]:
    return await resolve_each(info.context, ids)


async def _agent(info: Info, id: Annotated[ID, strawberry.argument(description="The agent's id.")]) -> OwnedAgent:
    return await info.context.access.agent(id)


async def _conversation(
    info: Info, id: Annotated[ID, strawberry.argument(description="The conversation's id.")]
) -> OwnedConversation:
    return await info.context.access.conversation(id)


async def _run(info: Info, id: Annotated[ID, strawberry.argument(description="The run's id.")]) -> OwnedRun:
    return await info.context.access.run(id)


async def _stream(info: Info, id: Annotated[ID, strawberry.argument(description="The stream's id.")]) -> StreamRecord:
    return await info.context.resources.streams.get(id, info.context.owner)


async def _template(
    info: Info, id: Annotated[ID, strawberry.argument(description="The template's id.")]
) -> TemplateRecord:
    return await templates.by_slug(info.context, template_slug(id))


async def _templates(
    info: Info,
    first: First = None,
    after: After = None,
    search: Annotated[
        str | None, strawberry.argument(description="A search text, in the syntax of AMS's template search.")
    ] = None,
) -> Page[TemplateRecord]:
    return await templates.template_page(info.context, window(first, after), search)


async def _template_validation(
    info: Info,
    source: Annotated[
        str, strawberry.argument(description="The Agent File: YAML or JSON text, at most 500,000 bytes.")
    ],
) -> TemplateValidation:
    return await templates.validation(info.context, source)


async def _models(
    info: Info,
    mode: Annotated[
        ModelMode | None,
        strawberry.argument(description="Returns only models of this mode. Default: models of all modes."),
    ] = None,
) -> list[ModelRecord]:
    return await models.models(info.context, mode)


async def _platform(info: Info) -> PlatformRecord:
    return await info.context.resources.health.probe(info.context.scope)


@strawberry.type(
    description="The root type of queries. If an object does not exist or belongs to another user, the field is null "
    "and has a NOT_FOUND error."
)
class Query:
    viewer: User = derived(_viewer, "The signed-in user.", access=SIGNED_IN)
    node: Node | None = answered_by(_node, "Returns a node by its global id.", access=SIGNED_IN, costs=[calls()])
    nodes: list[Node | None] = answered_by(
        _nodes,
        "Returns nodes by their global ids, in the order of the ids. An item that fails is null, and `errors` has an "
        "error with the item's path.",
        levels=[1],
        access=SIGNED_IN,
        costs=[assumed(MAX_NODES)],
        metadata={SIZED_BY: "ids"},
    )
    agent: Agent | None = answered_by(_agent, "Returns one of the user's agents.", access=SIGNED_IN, costs=[SHARED])
    conversation: Conversation | None = answered_by(
        _conversation, "Returns a conversation with one of the user's agents.", access=SIGNED_IN, costs=[calls()]
    )
    run: Run | None = answered_by(_run, "Returns a run of one of the user's agents.", access=SIGNED_IN, costs=[calls()])
    stream: Stream | None = answered_by(
        _stream,
        "Returns one of the user's streams. After the stream's `expiresAt`, the field fails with NOT_FOUND.",
        access=SIGNED_IN,
    )
    template: Template | None = answered_by(
        _template, "Returns a template that the user has permission to use.", access=SIGNED_IN, costs=[SHARED]
    )
    templates: TemplateConnection | None = answered_by(
        _templates,
        "Templates that the user has permission to use, in AMS's order.",
        access=SIGNED_IN,
        costs=[calls(), PAGE],
    )
    template_validation: TemplateValidationType | None = answered_by(
        _template_validation, "Validates an Agent File without publishing it.", access=SIGNED_IN, costs=[calls()]
    )
    models: list[Model] | None = answered_by(
        _models,
        "Models that the user can call with the user's LiteLLM key, sorted by name.",
        access=SIGNED_IN,
        costs=[SHARED, assumed(100)],
    )
    platform: Platform = derived(
        _platform, "The state of the gateway and of the services behind it.", access=SIGNED_IN, costs=[calls(3)]
    )
