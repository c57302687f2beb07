"""Templates that agents are made from."""

from __future__ import annotations

from clients.ams import TemplateRecord
from resolvers.access import not_found
from resolvers.context import RequestContext
from resolvers.paging import Edge, Page, Window, decode_cursor, encode_cursor, page


async def by_slug(context: RequestContext, slug: str) -> TemplateRecord:
    """One template. Where AMS tells nothing of templates, those of the principal's agents exist. Raises NotFound."""
    record = await context.loaders.template.load(slug)
    if record is not None and not record.described and slug not in await _used(context):
        record = None
    if record is None:
        raise not_found("template")
    return record


async def template_page(context: RequestContext, asked: Window, search: str | None) -> Page[TemplateRecord]:
    """The templates that the principal may use."""
    after = None if asked.cursor is None else decode_cursor(asked.cursor, str)
    if asked.size == 0:
        return page([], asked, more=False)
    ams, user_id = context.resources.ams, context.principal.user_id
    found = await ams.template_page(context.scope, user_id, limit=asked.size + 1, after=after, search=search)
    if found is None:
        found = [TemplateRecord(id=slug, described=False) for slug in await _used(context)]
        found = [record for record in found if (after is None or record.id > after) and (search or "") in record.id]
    edges = [Edge(record, encode_cursor(record.id)) for record in found[: asked.size]]
    return page(edges, asked, more=len(found) > asked.size)


async def _used(context: RequestContext) -> list[str]:
    """The slugs of the templates that the principal's agents were made from."""
    return sorted({row.template_id for row in (await context.access.profile()).agents if row.template_id})
