"""Templates: what agents are made from."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry import Parent

from clients.ams import TemplateFormat, TemplateRecord, TemplateValidation, TemplateVersionRecord
from resolvers import templates
from schema.base import answered_by, derived, described, entity, enum, reads
from schema.connections import Connection, Edge
from schema.costs import SHARED, calls
from schema.node import Node

enum(
    TemplateFormat,
    "How an Agent File is written.",
    YAML="As YAML.",
    JSON="As JSON.",
    UNKNOWN="In a form this gateway does not know.",
)


def _slug(record: Parent[TemplateRecord]) -> str:
    return record.id


@entity(description="A version of a template, as it was published. Its source never changes.")
@reads(TemplateVersionRecord)
class TemplateVersion(Node):
    """The GraphQL face of TemplateVersionRecord."""

    number: str = described("Its number (SemVer).")
    checksum: str | None = described("A digest of its source, to tell whether a file is the same.")
    is_latest: bool = described("Whether it is the template's newest.")
    source: str | None = described("The Agent File, as it was published.")
    published_at: datetime | None = described("When it was published.")
    template: Annotated[Template, strawberry.lazy("schema.template")] | None = answered_by(
        templates.template_of, "The template it is a version of.", costs=[SHARED]
    )


@entity(description="A family of versions that agents are made from.")
@reads(TemplateRecord)
class Template(Node):
    """The GraphQL face of TemplateRecord."""

    slug: str = derived(_slug, "Its short name, unique on the platform.")

    name: str | None = described("Its name.")
    description: str | None = described("What agents made from it are for.")
    tags: list[str] = described("Its tags.")
    is_public: bool | None = described("Whether everybody may use it; null where AMS does not tell.")
    latest_version: str | None = described("The newest version's number (SemVer).")
    versions: list[str] = described("The numbers of its versions (SemVer).")
    version: TemplateVersion | None = answered_by(
        templates.version,
        "One of its versions, by its number; null where AMS does not show versions.",
        optional=True,
        arguments={"number": "The version's number (SemVer)."},
        costs=[calls()],
    )


@strawberry.type(description="A page of templates, in the order that AMS keeps them.")
class TemplateConnection(Connection[Template]):
    """Relay connection."""


TemplateEdge = Edge[Template]


@strawberry.type(name="TemplateValidation", description="What is found in an Agent File that is to be published.")
@reads(TemplateValidation)
class TemplateValidationType:
    """The GraphQL face of the record of that name."""

    valid: bool = described("Whether nothing is wrong with it. Its version is compared only when it is published.")
    format: TemplateFormat = described("How it is written, as far as can be told.")
    problems: list[str] = described("What is wrong with it, a line each.")
