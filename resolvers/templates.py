"""Templates that agents are made from."""

from __future__ import annotations

from clients.ams import TemplateRecord
from resolvers.access import not_found
from resolvers.context import RequestContext


async def by_slug(context: RequestContext, slug: str) -> TemplateRecord:
    """One template. Where AMS tells nothing of templates, those of the principal's agents exist. Raises NotFound."""
    record = await context.loaders.template.load(slug)
    if record is not None and not record.described:
        used = {row.template_id for row in (await context.access.profile()).agents}
        record = record if slug in used else None
    if record is None:
        raise not_found("template")
    return record
