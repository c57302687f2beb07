"""Marks the subscriptions that change nothing. A GET request can start only these subscriptions.

GET is a safe method (RFC 9110, section 9.2.1).
"""

from collections.abc import Mapping
from typing import Any

from graphql import GraphQLField

_KEY = "reads"

READS: Mapping[Any, Any] = {_KEY: True}
"""The metadata of a subscription that changes nothing. Other subscriptions require POST or a WebSocket."""


def only_reads(field: GraphQLField) -> bool:
    """Return whether a subscription field has the metadata ``READS``."""
    definition = field.extensions.get("strawberry-definition")
    return bool(definition is not None and definition.metadata.get(_KEY))
