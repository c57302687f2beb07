"""Virtual keys: their users, models, budgets and rate limits."""

from __future__ import annotations

import hashlib
import math
import time
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.litellm.answers import Refused, Routes, body_of, ok
from app.embedded.state import Json, State, now

MINUTE_SECONDS = 60.0

_INFO: Json = {
    "soft_budget_cooldown": False,
    "models": [],
    "aliases": {},
    "config": {},
    "router_settings": {},
    "permissions": {},
    "metadata": {},
    "allowed_cache_controls": [],
    "allowed_routes": [],
    "key_type": "default",
    "policies": [],
    "access_group_ids": [],
    "model_spend": {},
    "model_max_budget": {},
    "budget_fallbacks": {},
    "created_by": "default_user_id",
    "updated_by": "default_user_id",
    "auto_rotate": False,
    "rotation_count": 0,
    **dict.fromkeys(("rotation_interval", "key_rotation_at", "last_rotation_at", "last_active", "budget_limits")),
    **dict.fromkeys(("litellm_budget_table", "litellm_organization_table", "litellm_project_table")),
    **dict.fromkeys(("object_permission", "jwt_key_mappings", "settings_updated_at")),
    **dict.fromkeys(("expires", "blocked", "team_id", "agent_id", "project_id", "max_parallel_requests")),
    **dict.fromkeys(("tpm_limit", "rpm_limit", "tpd_limit", "max_budget", "budget_duration")),
    **dict.fromkeys(("budget_reset_at", "budget_id", "organization_id", "object_permission_id")),
}


def hashed(key: str) -> str:
    """Return LiteLLM's hash of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def short(key: str) -> str:
    """Return LiteLLM's abbreviation of a key."""
    return f"sk-...{key[-4:]}"


def make_key(state: State, key: str, user_id: str | None, **facts: Any) -> Json:
    """Make a virtual key. ``facts`` are fields of ``/key/info`` such as ``max_budget``, ``rpm_limit``, ``models``."""
    at = now()
    named = {
        "key_name": short(key),
        "key_alias": f"key-{user_id[:8]}" if user_id else None,
        "user_id": user_id,
        "spend": 0.0,
    }
    info = {**_INFO, **named, "created_at": at, "updated_at": at, **facts}
    state.keep("key", state.keys, key, {"key": key, "info": info})
    return state.keys[key]


class Keys:
    """Authenticates requests by virtual key, enforces the keys' limits, and serves the routes of keys."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._calls: dict[str, list[float]] = {}

    def routes(self) -> Routes:
        """Return the routes."""
        return [("GET", "/key/info", self._info), ("POST", "/v2/key/info", self._many)]

    def sign_in(self, request: Request) -> Json:
        """Return the record of the request's key. Raises Refused."""
        bearer = request.headers.get("authorization", "").partition(" ")[2].strip()
        if not bearer:
            raise Refused(401, "auth_error", "Authentication Error, No api key passed in.", param="None")
        record = self._state.keys.get(bearer)
        if record is None and not bearer.startswith("sk-"):
            text = "LiteLLM Virtual Key expected. Received=****, expected to start with 'sk-'."
            raise Refused(401, "auth_error", text, param="None")
        if record is None:
            text = (
                f"Authentication Error, Invalid proxy server token passed. Received API Key = {short(bearer)}, "
                f"Key Hash (Token) ={hashed(bearer)}. Unable to find token in cache or `LiteLLM_VerificationTokenTable`"
            )
            raise Refused(401, "token_not_found_in_db", text, param="key")
        info = record["info"]
        if info["blocked"]:
            text = "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."
            raise Refused(401, "auth_error", text, param="None")
        if info["expires"] is not None and datetime.fromisoformat(info["expires"]) < datetime.now(UTC):
            text = f"Authentication Error - Expired Key. Key Expiry time {info['expires']}"
            raise Refused(401, "expired_key", text, param=info["key_name"])
        return record

    def allowed(self, record: Json) -> list[str]:
        """Return the models that a key can call. A key without a list of models can call every model."""
        named: list[str] = record["info"]["models"]
        return [name for name in self._state.models if not named or name in named]

    def admit(self, record: Json) -> None:
        """Count a call, if the key's budget and rate limit permit the call. Raises Refused."""
        info = record["info"]
        if info["max_budget"] is not None and info["spend"] >= info["max_budget"]:
            text = (
                f"Budget has been exceeded! Key={info['key_alias']} ({info['key_name']}) "
                f"Current cost: {info['spend']}, Max budget: {info['max_budget']}"
            )
            raise Refused(422, "budget_exceeded", text)
        limit = info["rpm_limit"]
        if limit is None:
            return
        at = time.monotonic()
        calls = [one for one in self._calls.get(record["key"], []) if one > at - MINUTE_SECONDS]
        if len(calls) >= limit:
            wait = math.ceil(calls[0] + MINUTE_SECONDS - at)
            text = (
                f"Rate limit exceeded for api_key: {hashed(record['key'])}. Limit type: requests. "
                f"Current limit: {limit}, Remaining: 0."
            )
            raise Refused(429, "throttling_error", text, headers={"retry-after": str(wait), **self.headers(record)})
        self._calls[record["key"]] = [*calls, at]

    def headers(self, record: Json) -> dict[str, str]:
        """Return the response headers that describe the key."""
        info = record["info"]
        limits = {"x-litellm-key-rpm-limit": info["rpm_limit"], "x-litellm-key-max-budget": info["max_budget"]}
        headers = {name: str(value) for name, value in limits.items() if value is not None}
        return {**headers, "x-litellm-key-spend": str(info["spend"])}

    def charge(self, record: Json, cost: float) -> None:
        """Add a cost to a key's spend."""
        at = now()
        info = {**record["info"], "spend": record["info"]["spend"] + cost, "updated_at": at, "last_active": at}
        record["info"] = info
        self._state.keep("key", self._state.keys, record["key"], record)

    async def _info(self, request: Request, record: Json) -> Response:
        name = request.query_params.get("key")
        if name is None:
            return ok({"key": hashed(record["key"]), "info": _details(record)})
        found = next((one for key, one in self._state.keys.items() if name in {key, hashed(key)}), None)
        if found is None:
            raise Refused(404, "not_found_error", "Key not found in database", param="key")
        if found["info"]["user_id"] != record["info"]["user_id"]:
            raise Refused(403, "internal_server_error", "You are not allowed to access this key's info.")
        return ok({"key": name, "info": _details(found)})

    async def _many(self, request: Request, record: Json) -> Response:
        names = (await body_of(request)).get("keys") or []
        user_id = record["info"]["user_id"]
        found = [
            one
            for key, one in self._state.keys.items()
            if (key in names or hashed(key) in names) and one["info"]["user_id"] == user_id
        ]
        return ok({"key": names, "info": [_details(one) for one in found]})


def _details(record: Json) -> Json:
    info = record["info"]
    status = "blocked" if info["blocked"] else "active"
    return {**info, "total_spend": info["spend"], "status": status}
