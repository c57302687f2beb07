"""Reads and publishes agent templates."""

from strawberry import Parent

from clients.ams import PublishedVersion, TemplateRecord, TemplateValidation, TemplateVersionRecord
from clients.errors import NotFound
from clients.state.cache import Tag
from resolvers import checks
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.loaded import loaded
from resolvers.loader_keys import VersionKey
from resolvers.loaders import prime_all
from resolvers.owned import not_found
from resolvers.paging import Edge, Page, Window, decode_cursor, encode_cursor, not_of_this_list, page


async def by_slug(context: RequestContext, slug: str) -> TemplateRecord:
    """Return a template by its slug. If AMS does not serve templates, find only the templates of the user's agents."""
    record = await context.loaders.template.load(slug)
    if record is not None and not record.described and slug not in await _used(context):
        record = None
    if record is None:
        raise not_found("template")
    return record


async def template_page(context: RequestContext, window: Window, search: str | None) -> Page[TemplateRecord]:
    """Read a page of the templates that the user has permission to use."""
    after = None if window.cursor is None else decode_cursor(window.cursor, str)
    search = checks.search(search)
    if after is not None and not checks.is_slug(after):
        raise not_of_this_list()
    ams, user_id = context.resources.ams, context.principal.user_id
    found = await ams.template_page(context.scope, user_id, limit=window.size + 1, after=after, search=search)
    if found is not None:
        prime_all(context.loaders.template, found)
    else:
        found = [TemplateRecord(id=slug, described=False) for slug in await _used(context)]
        found = [record for record in found if (after is None or record.id > after) and (search or "") in record.id]
    return page(found[: window.size], _cursor, window, more=len(found) > window.size)


def template_edge(record: TemplateRecord) -> Edge[TemplateRecord]:
    """Return the template's edge in the list of templates."""
    return Edge(record, _cursor)


def _cursor(record: TemplateRecord) -> str:
    return encode_cursor(record.id)


async def version(record: Parent[TemplateRecord], info: Info, number: str) -> TemplateVersionRecord | None:
    """Return a version of the template, or ``None`` if AMS does not serve versions. Raises NotFound."""
    return await _version(info.context, record, checks.version(number) or number)


def _template_id(record: TemplateVersionRecord) -> str:
    return record.template_id


@loaded(lambda loaders: loaders.template, key=_template_id)
def template_of(template: TemplateRecord | None, record: TemplateVersionRecord) -> TemplateRecord:
    """Return the template to which a version belongs."""
    return _described(template, record.template_id)


async def version_by_number(context: RequestContext, slug: str, number: str) -> TemplateVersionRecord:
    """Return a version of a template that the user has permission to use. Raises NotFound."""
    record = await _version(context, await by_slug(context, slug), number)
    if record is None:
        raise not_found("version of the template")
    return record


async def _version(context: RequestContext, record: TemplateRecord, number: str) -> TemplateVersionRecord | None:
    if record.described and number not in await _versions(context, record, number):
        raise not_found("version of the template")
    exists = record.described or number in await _used_versions(context, record.id)
    return await context.loaders.template_version.load(VersionKey(record.id, number, exists))


async def _versions(context: RequestContext, record: TemplateRecord, number: str) -> list[str]:
    """Return a template's versions. If a cached record lacks the version, read the template again."""
    if number in record.versions or (uncached := context.loaders.uncached) is None:
        return record.versions
    again = await uncached.template.load(record.id)
    if again is not None and number in again.versions:
        await context.loaders.report_outdated(Tag.TEMPLATES)
    return [] if again is None else again.versions


async def validation(context: RequestContext, source: str) -> TemplateValidation:
    """Validate an Agent File in AMS, and return the result."""
    ams, user_id = context.resources.ams, context.principal.user_id
    return await ams.validate_template(context.scope, user_id, checks.source(source))


async def publish(context: RequestContext, source: str, key: str | None) -> PublishedVersion:
    """Publish an Agent File.

    Raises:
        Invalid: reason ``TEMPLATE_INVALID``.
        Conflict: reason ``VERSION_EXISTS`` or ``KEY_REUSED``.
    """
    text, sent = checks.source(source), checks.header_key(key)
    ams, user_id = context.resources.ams, context.principal.user_id
    published = await ams.publish_template(context.scope, user_id, text, sent)
    context.reset_loaders()
    return published


async def published_template(context: RequestContext, published: PublishedVersion) -> TemplateRecord:
    """Return the template of a published version."""
    slug = published.template_id
    return _described(await context.loaders.template.load(slug), slug)


async def published_version(context: RequestContext, published: PublishedVersion, source: str) -> TemplateVersionRecord:
    """Read a published version from AMS. If AMS does not serve versions, make the version from ``published``."""
    try:
        version_key = VersionKey(published.template_id, published.version, exists=True)
        found = await context.loaders.template_version.load(version_key)
    except NotFound:
        found = None
    return found or TemplateVersionRecord(
        template_id=published.template_id,
        number=published.version,
        checksum=published.checksum,
        is_latest=published.is_latest,
        source=source,
    )


def _described(template: TemplateRecord | None, slug: str) -> TemplateRecord:
    """Return an existing template. If AMS does not serve templates, the record has only the slug."""
    return template or TemplateRecord(id=slug, described=False)


async def _used_versions(context: RequestContext, slug: str) -> set[str | None]:
    return {row.version for row in (await context.access.profile()).agents if row.template_id == slug}


async def _used(context: RequestContext) -> list[str]:
    return sorted({row.template_id for row in (await context.access.profile()).agents if row.template_id})
