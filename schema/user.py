"""The GraphQL types for the signed-in user."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from resolvers import agents, users
from resolvers import usage as usages
from resolvers.info import Info
from resolvers.owned import OwnedAgent
from resolvers.paging import Page, window
from resolvers.principal import Principal, Role
from resolvers.usage import UsageDimension
from schema.arguments import After, Before, First, Last
from schema.base import answered_by, derived, described, entity, enum
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
    "The permissions of a user.",
    USER="The user can access only the user's own objects.",
    ADMIN="The user can publish templates and revoke sessions, and can access only the user's own objects.",
)

_OWN_KEY = "user's own LiteLLM key. Null if the platform's key pays for the user's model calls."
_BY_DAY = [UsageDimension.DAY]


async def _agents(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    filter: Annotated[AgentFilter, strawberry.lazy("schema.agent")] | None = None,
) -> Page[OwnedAgent]:
    criteria = agents.Criteria() if filter is None else filter.criteria()
    return await agents.agent_page(info.context, window(first, after, last, before), criteria)


async def _usage(
    info: Info,
    first: Annotated[date, strawberry.argument(name="from", description="The first date, in UTC.")],
    last: Annotated[
        date,
        strawberry.argument(
            name="to", description="The last date, in UTC, inclusive. A report covers at most 366 days."
        ),
    ],
    group_by: Annotated[
        list[UsageDimension] | None,
        strawberry.argument(description="The dimensions by which the rows are grouped. Null means `[DAY]`."),
    ] = _BY_DAY,
) -> usages.UsageReport | None:
    return await usages.usage(info.context, first, last, _BY_DAY if group_by is None else group_by)


@entity("The signed-in user.", Principal)
class User(Node):
    email: str | None = described("The user's email address.")
    role: Role = described("The user's role.")
    name: str | None = answered_by(users.name, "The user's display name.", optional=True, costs=[SHARED])
    budget: Budget | None = answered_by(
        users.budget,
        f"Spend and limits of the {_OWN_KEY}",
        optional=True,
        costs=[calls()],
    )
    usage: UsageReport | None = answered_by(
        _usage,
        f"Usage of the {_OWN_KEY}",
        optional=True,
        costs=[calls()],
    )
    rate_limits: list[RateLimit] = derived(
        users.rate_limits,
        "The user's rate limits. Disabled limits are omitted. The current query counts as an operation.",
        costs=[assumed(3)],
    )
    streams: list[Annotated[Stream, strawberry.lazy("schema.stream")]] = derived(
        users.streams,
        "The user's streams, oldest first. Without Redis, only the streams of this gateway process.",
        arguments={
            "active": "`true` returns only running streams, and `false` returns only streams that have ended. "
            "Null returns all streams."
        },
        costs=[assumed(50)],
    )
    agents: Annotated[AgentConnection, strawberry.lazy("schema.agent")] | None = answered_by(
        _agents, "The user's agents, newest first.", costs=[calls(), TWO_WAY_PAGE]
    )
    default_agent: Annotated[Agent, strawberry.lazy("schema.agent")] | None = answered_by(
        users.default_agent,
        "The agent that the platform records as the user's first agent. Null if the user has no agent.",
        optional=True,
        costs=[SHARED],
    )
    created_at: datetime | None = answered_by(
        users.created_at,
        "When the user's profile was created. Null if the user has no profile.",
        optional=True,
        costs=[SHARED],
    )
