"""Templates, from which agents are created."""

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
    "The format of an Agent File.",
    YAML="YAML.",
    JSON="JSON.",
    UNKNOWN="A format that the gateway does not know.",
)


def _slug(record: Parent[TemplateRecord]) -> str:
    return record.id


@entity(description="A published version of a template. It is immutable.")
@reads(TemplateVersionRecord)
class TemplateVersion(Node):
    number: str = described("The version number (SemVer).")
    checksum: str | None = described("A digest of `source`, for comparing files.")
    is_latest: bool = described("Whether this is the template's latest version.")
    source: str | None = described("The Agent File, as it was published.")
    published_at: datetime | None = described("When the version was published.")
    template: Annotated[Template, strawberry.lazy("schema.template")] | None = answered_by(
        templates.template_of, "The version's template.", costs=[SHARED]
    )


@entity(description="A template from which agents are created. It has one or more published versions.")
@reads(TemplateRecord)
class Template(Node):
    slug: str = derived(_slug, "The template's short name, unique on the platform.")

    name: str | None = described("The template's display name.")
    description: str | None = described("The purpose of agents created from the template.")
    tags: list[str] = described("The template's tags.")
    is_public: bool | None = described(
        "Whether all users have permission to use the template. Null if AMS does not report it."
    )
    latest_version: str | None = described("Number of the latest version (SemVer).")
    versions: list[str] = described("Numbers of all versions (SemVer).")
    version: TemplateVersion | None = answered_by(
        templates.version,
        "Returns a version by its number. Null if AMS does not expose versions.",
        optional=True,
        arguments={"number": "The version number (SemVer)."},
        costs=[calls()],
    )


@strawberry.type(description="A page of templates, in AMS's order.")
class TemplateConnection(Connection[Template]):
    """Relay connection."""


TemplateEdge = Edge[Template]


@strawberry.type(name="TemplateValidation", description="The result of validating an Agent File.")
@reads(TemplateValidation)
class TemplateValidationType:
    valid: bool = described(
        "Whether the file is valid. Whether its version is already published is checked only by `publishTemplate`."
    )
    format: TemplateFormat = described("The detected format.")
    problems: list[str] = described("The problems found, one per item.")
