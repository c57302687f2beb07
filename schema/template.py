"""Templates: what agents are made from."""

from __future__ import annotations

import strawberry
from strawberry import Parent

from clients.ams import TemplateRecord
from schema.base import derived, described, entity, reads
from schema.connections import Connection
from schema.node import Node


def _slug(record: Parent[TemplateRecord]) -> str:
    return record.id


@entity(description="A family of versions that agents are made from.")
@reads(TemplateRecord)
class Template(Node):
    """The GraphQL face of TemplateRecord."""

    slug: str = derived(_slug, "Its short name, unique on the platform.")

    name: str | None = described("Its name.")
    description: str | None = described("What agents made from it are for.")
    latest_version: str | None = described("The newest version's number (SemVer).")
    versions: list[str] = described("The numbers of its versions (SemVer).")


@strawberry.type(description="A page of templates, in the order that AMS keeps them.")
class TemplateConnection(Connection[Template]):
    """Relay connection."""
