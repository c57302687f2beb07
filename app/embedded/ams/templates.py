"""Templates: the validation, publication and lists of Agent Files."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.ams.agentfile import AgentFile, Version, read
from app.embedded.ams.answers import Handler, Refused, ids_of, ok, text_of
from app.embedded.state import Json, State, User, now

_MAX_PAGE = 100


class Templates:
    """The routes of templates."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return the routes."""
        return [
            ("GET", "/templates", self._list),
            ("POST", "/templates/validate", self._validate),
            ("POST", "/templates/publish", self._publish),
            ("GET", "/templates/{id}/versions/{version}", self._version),
        ]

    async def _validate(self, request: Request, _: User | None) -> Response:
        file = read(await text_of(request))
        return ok({"format": file.format, "validation": {"valid": not file.errors, "errors": file.errors}})

    async def _publish(self, request: Request, user: User | None) -> Response:
        file = read(await text_of(request))
        if file.errors:
            raise Refused(400, "The Agent File is not valid", file.errors)
        template_id, version = file.template["id"], file.template["version"]
        published = self._state.templates.get(template_id)
        if published is not None:
            if not self._may_use(published, user):
                raise Refused(404, "Template not found")
            if version in published["versions"]:
                raise Refused(409, f"Version {version} of {template_id} exists")
            if Version(version) <= Version(published["latest_version"]):
                raise Refused(400, f"Version {version} is not above the latest, {published['latest_version']}")
        self.publish(file, by=user.id if user else None)
        answer = {"template_id": template_id, "version": version, "checksum": file.checksum, "is_latest": True}
        return ok(answer)

    def publish(self, file: AgentFile, *, by: str | None) -> None:
        """Publish a valid Agent File as the latest version of the file's template."""
        section, earlier = file.template, self._state.templates.get(file.template["id"], {})
        template = {
            "id": section["id"],
            "name": section["name"],
            "description": section.get("description", earlier.get("description")),
            "latest_version": section["version"],
            "versions": [*earlier.get("versions", []), section["version"]],
            "is_public": bool(section.get("is_public", earlier.get("is_public", True))),
            "tags": [str(tag) for tag in section.get("tags") or earlier.get("tags") or []],
            "owner": earlier["owner"] if earlier else by,
        }
        release = {"source": file.source, "checksum": file.checksum, "published_at": now(), "published_by": by}
        with self._state.store.together():
            self._state.keep("template", self._state.templates, section["id"], template)
            self._state.keep("release", self._state.releases, f"{section['id']}@{section['version']}", release)

    async def _list(self, request: Request, user: User | None) -> Response:
        query = request.query_params
        templates = [template for template in self._state.templates.values() if self._may_use(template, user)]
        if "ids" in query:
            requested = ids_of(request)
            return ok({"templates": [_without_owner(one) for one in templates if one["id"] in requested]})
        search = query.get("search", "").lower()
        templates = [template for template in templates if search in _searchable_text(template)]
        ids = [template["id"] for template in templates]
        begin = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
        limit = query.get("limit", str(_MAX_PAGE))
        if not limit.isdecimal():
            raise Refused(400, "limit must be a number")
        page = templates[begin : begin + min(int(limit), _MAX_PAGE)]
        return ok({"templates": [_without_owner(template) for template in page]})

    async def _version(self, request: Request, user: User | None) -> Response:
        template_id, version = request.path_params["id"], request.path_params["version"]
        template = self.usable(template_id, user)
        release = self._state.releases.get(f"{template_id}@{version}")
        if release is None:
            raise Refused(404, "Version not found")
        is_latest = version == template["latest_version"]
        return ok({"template_id": template_id, "version": version, "is_latest": is_latest, **release})

    def usable(self, template_id: str, user: User | None) -> Json:
        """Return a template that the user can use. Raises Refused."""
        template = self._state.templates.get(template_id)
        if template is None or not self._may_use(template, user):
            raise Refused(404, "Template not found")
        return template

    def file(self, template: Json, version: str) -> AgentFile:
        """Return the Agent File of a published version. Raises Refused."""
        release = self._state.releases.get(f"{template['id']}@{version}")
        if release is None:
            raise Refused(404, f"{template['id']} has no version {version}")
        return read(release["source"])

    def migrations(self, template: Json) -> list[Json]:
        """Return the migrations in a template's versions, newest version first."""
        newest = sorted(template["versions"], key=Version, reverse=True)
        return [one for version in newest for one in self.file(template, version).content.get("migrations") or []]

    def _may_use(self, template: Json, user: User | None) -> bool:
        return bool(template["is_public"]) or (user is not None and template.get("owner") == user.id)


def _without_owner(template: Json) -> Json:
    return {name: value for name, value in template.items() if name != "owner"}


def _searchable_text(template: Json) -> str:
    return " ".join([template["id"], template["name"], template["description"] or "", *template["tags"]]).lower()
