"""Mutations of templates."""

import strawberry
from strawberry import Parent

from clients.ams import PublishedVersion, TemplateRecord, TemplateVersionRecord
from resolvers import templates
from resolvers.info import Info
from resolvers.paging import Edge
from schema import named, outcomes
from schema.access import ADMIN
from schema.base import answered_by, described, optional
from schema.costs import SHARED, calls
from schema.inputs import ASCII_KEY, FIRST_RESULT
from schema.outcomes import Payload, PayloadRecord, done_by, payload
from schema.template import Template, TemplateEdge, TemplateVersion


@strawberry.input(description="The Agent File to publish as a new version of a template.")
class PublishTemplateInput:
    source: str = described(
        "The Agent File: YAML or JSON text, at most 500,000 bytes. The Agent File contains the template's name and "
        "version."
    )
    idempotency_key: str | None = optional(
        f"{ASCII_KEY} {FIRST_RESULT} Without a key, a repeated request fails with `VersionExists`."
    )


class _Payload(PayloadRecord, kw_only=True):
    published: PublishedVersion | None = None
    source: str = ""


async def _template(record: Parent[_Payload], info: Info) -> TemplateRecord | None:
    published = record.published
    return None if published is None else await templates.published_template(info.context, published)


async def _edge(record: Parent[_Payload], info: Info) -> Edge[TemplateRecord] | None:
    template = await _template(record, info)
    return None if template is None else templates.template_edge(template)


async def _version(record: Parent[_Payload], info: Info) -> TemplateVersionRecord | None:
    published = record.published
    return None if published is None else await templates.published_version(info.context, published, record.source)


@payload(_Payload)
class PublishTemplatePayload(Payload):
    template_edge: TemplateEdge | None = answered_by(
        _edge,
        "The template as an edge. If `templates` does not contain the template, clients can add the edge.",
        optional=True,
        costs=[SHARED],
    )
    template: Template | None = answered_by(
        _template, "The template.", optional=True, costs=[SHARED], held=named.PUBLISHED_TEMPLATE
    )
    template_version: TemplateVersion | None = answered_by(
        _version, "The published version.", optional=True, costs=[calls()]
    )


async def _publish_template(info: Info, input: PublishTemplateInput) -> _Payload:
    published = await templates.publish(info.context, input.source, input.idempotency_key)
    return _Payload(published=published, source=input.source)


@strawberry.type
class TemplateMutations:
    publish_template: PublishTemplatePayload = done_by(
        _Payload,
        _publish_template,
        "Publishes an Agent File as the latest version of its template. Requires the role `ADMIN`.",
        outcomes.VersionExists,
        outcomes.TemplateInvalid,
        access=ADMIN,
        calls=3,
    )
