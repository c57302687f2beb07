"""Which subscriptions only read, so that a GET may ask for them (RFC 9110, 9.2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import GraphQLField

_KEY = "reads"

READS: Mapping[Any, Any] = {_KEY: True}
"""The metadata of a subscription that begins nothing. Without it, a subscription needs POST or a WebSocket."""


def only_reads(field: GraphQLField) -> bool:
    """Whether a subscription's field is declared to begin nothing."""
    definition = field.extensions.get("strawberry-definition")
    return bool(definition is not None and definition.metadata.get(_KEY))
