"""Logs model calls with their costs, and adds up the costs of each day."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.litellm.answers import Refused, Routes, ok
from app.embedded.litellm.keys import Keys, hashed
from app.embedded.state import Json, State

MAX_PAGE_SIZE = 1000
_COUNTS = ("spend", "prompt_tokens", "completion_tokens", "total_tokens")
_ZEROS = (
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "compression_saved_tokens",
    "compression_savings_spend",
    "prompt_caching_savings_spend",
    "gateway_injected_caching_savings_spend",
    "autorouter_savings_spend",
)
_BREAKDOWNS = {
    "models": "model",
    "model_groups": "model_group",
    "providers": "custom_llm_provider",
    "entities": "user",
}
_ENDPOINTS = {"aembedding": "/embeddings", "acompletion": "/chat/completions", "aresponses": "/responses"}
_SUMS = (*_COUNTS, "successful_requests", "failed_requests", "api_requests", "total_response_time_ms", "timed_requests")


@dataclass(frozen=True)
class Call:
    """A model call that has not ended."""

    record: Json
    model: str
    kind: str
    user: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    began: float = field(default_factory=time.time)


class Ledger:
    """Records the costs of model calls, and serves the routes of costs."""

    def __init__(self, state: State, keys: Keys) -> None:
        self._state = state
        self._keys = keys

    def routes(self) -> Routes:
        """Return the routes."""
        return [("GET", "/spend/logs", self._logs), ("GET", "/user/daily/activity", self._daily)]

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> tuple[float, float]:
        """Return the costs of prompt and completion tokens, in USD."""
        prices = self._state.models[model]
        prompt, completion = prices["input_cost_per_token"] or 0.0, prices["output_cost_per_token"] or 0.0
        return prompt_tokens * prompt, completion_tokens * completion

    def settle(self, call: Call, prompt_tokens: int, completion_tokens: int, *, failed: bool = False) -> float:
        """Log a call, add its cost to the key's spend, and return the cost in USD."""
        cost = sum(self.cost(call.model, prompt_tokens, completion_tokens))
        with self._state.store.together():
            if cost:
                self._keys.charge(call.record, cost)
            self._state.add_spend(_log_entry(call, cost, prompt_tokens, completion_tokens, failed=failed))
        return cost

    def _own(self, request: Request, record: Json) -> list[Json]:
        """Return the logged calls of the user's keys, from the first to the last requested day."""
        query = request.query_params
        first, last = query.get("start_date", "")[:10], query.get("end_date", "9999")[:10]
        user_id = record["info"]["user_id"]
        return [
            entry
            for entry in self._state.spend
            if entry["metadata"]["user_api_key_user_id"] == user_id
            and first <= entry["startTime"][:10] <= last
            and query.get("api_key") in {None, entry["api_key"]}
        ]

    async def _logs(self, _: Request, __: Json) -> Response:
        """Refuse every virtual key: only LiteLLM's admin can read the log."""
        text = (
            "Authentication Error, Only proxy admin can be used to generate, delete, update info for new "
            "keys/users/teams. Route=/spend/logs. Your role=unknown. Your user_id=*******"
        )
        raise Refused(401, "auth_error", text, param="None")

    async def _daily(self, request: Request, record: Json) -> Response:
        """Return a page of daily records, newest first. A day can continue on the next page."""
        _check_daily(request, record)
        page, size = _number(request, "page", 1), _number(request, "page_size", 50)
        records = _daily_records(self._own(request, record))
        pages = math.ceil(len(records) / size)
        found = [entry for one in records[(page - 1) * size : page * size] for entry in one]
        days = sorted({entry["startTime"][:10] for entry in found}, reverse=True)
        results = [
            {"date": day, **_activity([entry for entry in found if entry["startTime"][:10] == day])} for day in days
        ]
        total = _metrics(found)
        metadata = {
            "total_spend": total["spend"],
            "total_flat_cost": 0.0,
            **{name if name.startswith("total_") else f"total_{name}": total[name] for name in (*_SUMS, *_ZEROS)},
            "page": page,
            "total_pages": pages,
            "has_more": page < pages,
            **dict.fromkeys(("api_key_limit", "total_api_keys", "entity_total_api_keys")),
        }
        return ok({"results": results, "metadata": metadata})


def _check_daily(request: Request, record: Json) -> None:
    user_id, query = record["info"]["user_id"], request.query_params
    if user_id is None:
        raise _detail(
            403, "Service-account keys cannot query user analytics. Use a user-bound key, or call as an admin."
        )
    if query.get("user_id", user_id) != user_id:
        raise _detail(403, "Non-admin users can only view their own spend data.")
    if not query.get("start_date") or not query.get("end_date"):
        raise _detail(400, "Please provide start_date and end_date")


def _detail(status: int, text: str) -> Refused:
    refusal = Refused(status, "", text)
    refusal.body = {"detail": {"error": text}}
    return refusal


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PAGE_SIZE:
        raise _detail(422, f"{name} is from 1 to {MAX_PAGE_SIZE}")
    return int(text)


def _daily_records(entries: list[Json]) -> list[list[Json]]:
    """Group calls by day, key, model and endpoint, as LiteLLM does, with the newest days first."""
    records: dict[tuple[str, ...], list[Json]] = {}
    for entry in entries:
        names = (entry["startTime"][:10], entry["api_key"], entry["model_group"], entry["call_type"])
        records.setdefault(names, []).append(entry)
    return [records[names] for names in sorted(records, key=lambda names: names[0], reverse=True)]


_ENTRY: Json = {
    "custom_llm_provider": "openai",
    "api_base": "",
    "mcp_namespaced_tool_name": None,
    "agent_id": None,
    "cache_hit": "False",
    "cache_key": "Cache OFF",
    "request_tags": [],
    "team_id": "",
    "organization_id": "",
    "requester_ip_address": "127.0.0.1",
}


def _log_entry(call: Call, cost: float, prompt_tokens: int, completion_tokens: int, *, failed: bool) -> Json:
    info, key, ended = call.record["info"], hashed(call.record["key"]), time.time()
    status = "failure" if failed else "success"
    facts = {"status": status, "user_api_key": key, "user_api_key_alias": info["key_alias"]}
    return {
        **_ENTRY,
        **dict.fromkeys(("request_id", "session_id", "litellm_call_id"), call.id),
        "call_type": call.kind,
        "api_key": key,
        "spend": cost,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "startTime": _time(call.began),
        "endTime": _time(ended),
        "completionStartTime": _time(ended),
        "request_duration_ms": int((ended - call.began) * 1000),
        "model": f"openai/{call.model}",
        "model_id": f"{call.model}-id",
        "model_group": call.model,
        "user": info["user_id"],
        "end_user": call.user,
        "metadata": {**facts, "user_api_key_user_id": info["user_id"]},
        "status": status,
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _activity(entries: list[Json]) -> Json:
    """Return a day's metrics: the totals, and a breakdown by model, key and other fields."""
    breakdown: Json = {name: _breakdown(entries, source) for name, source in _BREAKDOWNS.items()}
    endpoints = {_ENDPOINTS[kind]: metrics for kind, metrics in _breakdown(entries, "call_type").items()}
    more = {"mcp_servers": {}, "endpoints": endpoints, "api_keys": _by_key(entries)}
    return {"metrics": _metrics(entries), "breakdown": {**breakdown, **more}}


def _breakdown(entries: list[Json], source: str) -> Json:
    return {
        value: {"metrics": _metrics(group), "metadata": {}, "api_key_breakdown": _by_key(group)}
        for value, group in _grouped(entries, source)
    }


def _by_key(entries: list[Json]) -> Json:
    return {
        key: {"metrics": _metrics(group), "metadata": _key_facts(group[0])}
        for key, group in _grouped(entries, "api_key")
    }


def _key_facts(entry: Json) -> Json:
    facts = entry["metadata"]
    named = {"key_alias": facts["user_api_key_alias"], "user_id": facts["user_api_key_user_id"]}
    return {**named, "team_id": None, "user_email": None, "key_exists": True}


def _grouped(entries: list[Json], field_name: str) -> Iterable[tuple[str, list[Json]]]:
    for value in dict.fromkeys(entry[field_name] for entry in entries):
        yield value, [entry for entry in entries if entry[field_name] == value]


def _metrics(entries: list[Json]) -> Json:
    good = [entry for entry in entries if entry["status"] == "success"]
    return {
        **{name: sum(entry[name] for entry in entries) for name in _COUNTS},
        "flat_cost": 0.0,
        **dict.fromkeys(_ZEROS, 0),
        "successful_requests": len(good),
        "failed_requests": len(entries) - len(good),
        "api_requests": len(entries),
        "total_response_time_ms": sum(entry["request_duration_ms"] for entry in good),
        "timed_requests": len(good),
    }
