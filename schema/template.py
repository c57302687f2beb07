"""The GraphQL types for templates, from which agents are created."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry import Parent

from clients.ams import TemplateFormat, TemplateRecord, TemplateValidation, TemplateVersionRecord
from resolvers import templates
from schema import named
from schema.base import answered_by, derived, described, entity, enum, object_type, shows
from schema.connections import Connection, Edge
from schema.costs import SHARED, calls
from schema.node import Node

enum(
    TemplateFormat,
    "The format of an Agent File.",
    YAML="The file is YAML.",
    JSON="The file is JSON.",
    UNKNOWN="AMS reported a format that the gateway does not know.",
)


def _slug(record: Parent[TemplateRecord]) -> str:
    return record.id


@entity("A published version of a template. A published version never changes.", TemplateVersionRecord)
class TemplateVersion(Node):
    number: str = described("The version number (SemVer).")
    checksum: str | None = described("A digest of `source`, for comparing files.")
    is_latest: bool = described("Whether this is the template's latest version.")
    source: str | None = described("The Agent File that was published as this version.")
    published_at: datetime | None = described("When the version was published.")
    template: Annotated[Template, strawberry.lazy("schema.template")] | None = answered_by(
        templates.template_of, "The version's template.", costs=[SHARED], held=named.TEMPLATE
    )


@entity("A template from which agents are created. A template has one or more published versions.", TemplateRecord)
class Template(Node):
    slug: str = derived(_slug, "The template's short name, which is unique on the platform.")

    name: str | None = described("The template's display name.")
    description: str | None = described("The purpose of agents created from the template.")
    tags: list[str] = described("The template's tags.")
    is_public: bool | None = described("Whether all users have permission to use the template. Null if unknown.")
    latest_version: str | None = described("The number of the latest version (SemVer).")
    versions: list[str] = described("The numbers of all versions (SemVer).")
    version: TemplateVersion | None = answered_by(
        templates.version,
        "Returns a version by its number. Null if AMS does not return versions.",
        optional=True,
        arguments={"number": "The version number (SemVer)."},
        costs=[calls()],
    )


@object_type("A page of templates, in AMS's order.")
class TemplateConnection(Connection[Template]):
    """A Relay connection of templates."""


TemplateEdge = Edge[Template]


@shows("The result of validating an Agent File.", TemplateValidation, name="TemplateValidation")
class TemplateValidationType:
    valid: bool = described(
        "Whether the Agent File is valid. Only `publishTemplate` checks whether the version is already published."
    )
    format: TemplateFormat = described("The Agent File's format, as AMS detected it.")
    problems: list[str] = described("The problems of the Agent File. Each item describes one problem.")
