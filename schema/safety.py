"""Marks the subscriptions that only read. GET, a safe method (RFC 9110, section 9.2.1), can request only these."""

from collections.abc import Mapping
from typing import Any

from graphql import GraphQLField

_KEY = "reads"

READS: Mapping[Any, Any] = {_KEY: True}
"""Metadata of a subscription that only reads. All other subscriptions require POST or a WebSocket."""


def only_reads(field: GraphQLField) -> bool:
    """Return whether a subscription field has the metadata ``READS``."""
    definition = field.extensions.get("strawberry-definition")
    return bool(definition is not None and definition.metadata.get(_KEY))
