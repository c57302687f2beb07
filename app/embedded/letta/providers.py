"""The routes of model providers that users add to Letta. Each provider has a separate key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.letta.answers import Routes, body_of, invalid, missing, ok, page, refused
from app.embedded.letta.shapes import ORGANIZATION
from app.embedded.state import Json, State, new_id, now

_FIELDS = ("api_key", "base_url", "access_key", "region", "api_version")


class Providers:
    """The routes of providers."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> Routes:
        """Return the routes."""
        return [
            ("GET", "/v1/providers/", self._list),
            ("POST", "/v1/providers/", self._create),
            ("PATCH", "/v1/providers/{id}", self._patch),
            ("DELETE", "/v1/providers/{id}", self._delete),
        ]

    async def _list(self, request: Request) -> Response:
        name = request.query_params.get("name")
        found = [one for one in self._state.providers.values() if name in {None, one["name"]}]
        return ok(page(found, request, default=50))

    async def _create(self, request: Request) -> Response:
        body = await body_of(request)
        for field in ("name", "provider_type", "api_key"):
            if not isinstance(body.get(field), str):
                raise invalid("missing", ("body", field), "Field required", body)
        if any(one["name"] == body["name"] for one in self._state.providers.values()):
            raise refused(409, f"Provider with name '{body['name']}' already exists")
        fields = {"id": new_id("provider"), "name": body["name"], "provider_type": body["provider_type"]}
        return ok(self._keep({**fields, "provider_category": "byok", "organization_id": ORGANIZATION}, body))

    async def _patch(self, request: Request) -> Response:
        return ok(self._keep(self._existing(request), await body_of(request)))

    async def _delete(self, request: Request) -> Response:
        provider = self._existing(request)
        del self._state.providers[provider["id"]]
        self._state.store.drop("provider", provider["id"])
        return ok({"message": f"Provider id={provider['id']} successfully deleted"})

    def _keep(self, provider: Json, body: Json) -> Json:
        """Update and store a provider. As in Letta, ``api_key_enc`` contains the key in plain text."""
        fields = {name: body.get(name, provider.get(name)) for name in _FIELDS}
        keys = {f"{name}_enc": fields[name] or provider.get(f"{name}_enc") for name in ("api_key", "access_key")}
        dates = {"updated_at": now(), "last_synced": None}
        updated = {**provider, **fields, **keys, **dates, "api_key": None, "access_key": None}
        self._state.keep("provider", self._state.providers, updated["id"], updated)
        return updated

    def _existing(self, request: Request) -> Json:
        provider = self._state.providers.get(request.path_params["id"])
        if provider is None:
            raise missing("Provider", request.path_params["id"])
        return provider
