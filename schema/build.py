"""The schema, built once per process."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import cache

import strawberry
from strawberry.schema.config import StrawberryConfig

from clients.errors import ErrorCode
from schema import message, outcomes, stream
from schema.federation import VERSION, federated
from schema.mutation import Mutation
from schema.query import Query
from schema.scalars import DATE, DECIMAL
from schema.subscription import Subscription


@cache
def build_schema() -> strawberry.Schema:
    """The whole graph, made once: it never changes. ``schema.federation`` prints it, for clients and for composers."""
    return strawberry.federation.Schema(
        query=federated(Query),
        mutation=Mutation,
        subscription=Subscription,
        types=[*message.KINDS, *stream.KINDS, *outcomes.KINDS, ErrorCode],
        config=StrawberryConfig(auto_camel_case=True, scalar_map={Decimal: DECIMAL, date: DATE}),
        federation_version=VERSION,
    )
