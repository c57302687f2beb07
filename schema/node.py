"""Converts records to global ids, and reads records by their global ids.

If an upstream id is globally unique and shows the object's type, the upstream id is the global id. Other upstream ids
get a prefix, so that other subgraphs can compute the global ids.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeAlias, cast

import strawberry
from strawberry import ID, Parent

from clients.ams import AgentRow, TemplateRecord, TemplateVersionRecord
from clients.codes import Reason
from clients.errors import BadUserInput
from clients.letta.messages import MessageRecord
from clients.letta.records import (
    ConversationRecord,
    MemoryBlockRecord,
    PassageRecord,
    RunRecord,
    StepRecord,
    ToolRecord,
)
from clients.litellm import ModelRecord
from resolvers import agents, checks, messages, models, passages, templates
from resolvers.context import RequestContext
from resolvers.loading import settled
from resolvers.owned import not_found
from resolvers.principal import Principal
from resolvers.streams.stream import Stream
from schema.base import derived

USER, MODEL, TEMPLATE = "user:", "model:", "template:"

MAX_NODES = 100
"""The maximum number of ids in one ``nodes`` or ``_entities`` field."""


_Reader: TypeAlias = Callable[[Any], ID]

_own_id: _Reader = attrgetter("id")

_READERS: dict[type, _Reader] = {
    MessageRecord: cast("_Reader", messages.message_node_id),  # calling ``ID`` for each id takes as long as the rest
    AgentRow: attrgetter("agent_id"),
    Principal: lambda user: ID(f"{USER}{user.user_id}"),
    ModelRecord: lambda model: ID(f"{MODEL}{model.name}"),
    TemplateRecord: lambda template: ID(f"{TEMPLATE}{template.id}"),
    TemplateVersionRecord: lambda version: ID(f"{TEMPLATE}{version.template_id}@{version.number}"),
    PassageRecord: cast("_Reader", passages.passage_node_id),
    ConversationRecord: _own_id,
    MemoryBlockRecord: _own_id,
    RunRecord: _own_id,
    StepRecord: _own_id,
    ToolRecord: _own_id,
    Stream: _own_id,
}


def id_reader(kind: type) -> Callable[[Any], ID]:
    """Return the function that returns the global id of a record of a class. Raises TypeError for other classes."""
    reader = _READERS.get(kind)
    if reader is None:
        base = next((base for base in kind.__mro__ if base in _READERS), None)
        if base is None:
            raise TypeError(f"{kind.__name__} is no node")
        reader = _READERS[kind] = _READERS[base]
    return reader


def global_id(record: Parent[Any]) -> ID:
    """Return a record's global id."""
    kind = type(record)
    return (_READERS.get(kind) or id_reader(kind))(record)


global_id.of_class = id_reader  # type: ignore[attr-defined]  # plans call the reader of a class without a look-up


@strawberry.interface(description="An object with a global id (GraphQL Global Object Identification).")
class Node:
    id: ID = derived(global_id, "The object's global id. The id is stable. Clients must not parse the id.")


async def resolve(context: RequestContext, node_id: str) -> object:
    """Return the record with the given global id. Raises NotFound if the user has no such object."""
    access = context.access
    kind = node_id.split(":", 1)[0] if ":" in node_id else node_id.split("-", 1)[0]
    match kind:
        case "agent":
            return await access.agent(node_id)
        case "conv" | "conversation":
            return await access.conversation(node_id)
        case "run":
            return await access.run(node_id)
        case "step":
            return await access.step(node_id)
        case "passage":
            return await passages.passage_by_id(context, node_id)
        case "message":
            return await messages.message_by_id(context, node_id)
        case "block" | "tool":
            return await agents.attached(context, node_id)
        case "model":
            return await models.model_by_name(context, node_id.removeprefix(MODEL))
        case "stream":
            return await context.resources.streams.get(node_id, context.owner)
        case "user" if node_id == f"{USER}{context.principal.user_id}":
            return context.principal
        case _:
            return await _template(context, template_slug(node_id))


async def _template(context: RequestContext, slug: str) -> object:
    """Return a template by its slug, or a version by ``<slug>@<version>``."""
    name, _, number = slug.rpartition("@")
    if name and checks.is_version(number):
        return await templates.version_by_number(context, name, number)
    return await templates.by_slug(context, slug)


async def resolve_each(context: RequestContext, node_ids: Sequence[str]) -> list[object | Exception]:
    """Return the records with the given global ids, in order. For an id that fails, return the exception.

    Raises:
        BadUserInput: there are more than ``MAX_NODES`` ids.
    """
    at_most(node_ids)
    return await settled(resolve(context, node_id) for node_id in node_ids)


def at_most(items: Sequence[object]) -> None:
    """Raise BadUserInput if there are more than ``MAX_NODES`` items."""
    if len(items) > MAX_NODES:
        raise BadUserInput(
            f"{len(items)} objects are requested: at most {MAX_NODES} objects are allowed at once.",
            reason=Reason.TOO_MANY,
        )


def template_slug(node_id: str) -> str:
    """Return the slug in a template's global id. Raises NotFound for any other id."""
    slug = node_id.removeprefix(TEMPLATE)
    if not node_id.startswith(TEMPLATE) or not checks.is_slug(slug):
        raise not_found("node")
    return slug
