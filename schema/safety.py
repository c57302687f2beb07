"""Which subscriptions only read, so that GET can request them (RFC 9110, section 9.2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import GraphQLField

_KEY = "reads"

READS: Mapping[Any, Any] = {_KEY: True}
"""Metadata of a subscription that starts nothing. All others require POST or a WebSocket."""


def only_reads(field: GraphQLField) -> bool:
    """Return whether a subscription field is declared to start nothing."""
    definition = field.extensions.get("strawberry-definition")
    return bool(definition is not None and definition.metadata.get(_KEY))
