"""The signed-in user."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Parent

from resolvers import agents, users
from resolvers import usage as usages
from resolvers.info import Info
from resolvers.owned import OwnedAgent
from resolvers.paging import Page, window
from resolvers.principal import Principal, Role
from resolvers.usage import UsageDimension
from schema.arguments import After, Before, First, Last
from schema.base import answered_by, derived, described, entity, enum, reads
from schema.budget import Budget
from schema.costs import SHARED, TWO_WAY_PAGE, assumed, calls
from schema.node import Node
from schema.rate_limit import RateLimit
from schema.usage import UsageReport

if TYPE_CHECKING:
    from schema.agent import Agent, AgentConnection, AgentFilter
    from schema.stream import Stream

enum(
    Role,
    "What a user may do beyond their own things.",
    USER="Nothing beyond them.",
    ADMIN="Publish templates.",
)

_BY_DAY = [UsageDimension.DAY]


async def _agents(
    user: Parent[Principal],  # noqa: ARG001 - agents are always the principal's
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    filter: Annotated[AgentFilter, strawberry.lazy("schema.agent")] | None = None,  # noqa: A002 - the name in the graph
) -> Page[OwnedAgent]:
    wanted = agents.Wanted() if filter is None else filter.wanted()
    return await agents.agent_page(info.context, window(first, after, last, before), wanted)


async def _usage(
    user: Parent[Principal],  # noqa: ARG001 - usage is always the principal's
    info: Info,
    first: Annotated[date, strawberry.argument(name="from", description="The first day, by UTC.")],
    last: Annotated[date, strawberry.argument(name="to", description="The last day, by UTC; at most 366 in all.")],
    group_by: Annotated[
        list[UsageDimension] | None, strawberry.argument(description="What each row is of; null for the default.")
    ] = _BY_DAY,
) -> usages.UsageReport | None:
    return await usages.usage(info.context, first, last, _BY_DAY if group_by is None else group_by)


@entity(description="You, as your token says.")
@reads(Principal)
class User(Node):
    """The GraphQL face of Principal."""

    email: str | None = described("Your address.")
    role: Role = described("What you may do.")
    name: str | None = answered_by(users.name, "Your name on the platform.", optional=True, costs=[SHARED])
    budget: Budget | None = answered_by(
        users.budget,
        "What your own key may spend; null where the platform's key pays for you.",
        optional=True,
        costs=[calls()],
    )
    usage: UsageReport | None = answered_by(
        _usage,
        "What your own key was used for; null where the platform's key pays for you.",
        optional=True,
        costs=[calls()],
    )
    rate_limits: list[RateLimit] = derived(
        users.rate_limits,
        "Your limits, each by itself; those that are turned off are left out. Looking counts as any operation does.",
        costs=[assumed(3)],
    )
    streams: list[Annotated[Stream, strawberry.lazy("schema.stream")]] = derived(
        users.streams,
        "Your streams, oldest first: those still running, those at their end, or all.",
        arguments={"active": "`true` for those still running, `false` for those at their end; all without."},
        costs=[assumed(50)],
    )
    agents: Annotated[AgentConnection, strawberry.lazy("schema.agent")] | None = answered_by(
        _agents, "Your agents, newest first; with a filter, those that fit it.", costs=[calls(), TWO_WAY_PAGE]
    )
    default_agent: Annotated[Agent, strawberry.lazy("schema.agent")] | None = answered_by(
        users.default_agent,
        "The agent the platform keeps as your first; null while you have none.",
        optional=True,
        costs=[SHARED],
    )
    created_at: datetime | None = answered_by(
        users.created_at, "When your profile was made; null while you have none.", optional=True, costs=[SHARED]
    )
