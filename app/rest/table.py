"""The table of the REST endpoints' routes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from clients.origin import Endpoint, Origin
from resolvers.limits import LimitKind

PROXY = "/api/v1/agents/{user_id}/proxy"


class Work(StrEnum):
    """The purpose of a REST route, such as chat or embeddings."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    BY_BODY = "by body"
    """A chat completion or embeddings request, depending on the body.

    Some versions of Letta post to the proxy's own path (``AMS.md``).
    """
    RESPONSES = "responses"
    RESPONSE = "response"
    DELETE_RESPONSE = "delete response"
    INPUT_ITEMS = "input items"
    MODELS = "models"
    NO_MODELS = "no models"
    """A request that is answered with an empty list of models.

    Letta would store listed models for its base provider, and prefer them. Other users' agents would then use the first
    user's secret.
    """


STORED = frozenset({Work.RESPONSE, Work.DELETE_RESPONSE, Work.INPUT_ITEMS})
"""The routes of stored responses."""

_WITHOUT_MODEL = STORED | {Work.MODELS, Work.NO_MODELS}


@dataclass(frozen=True, slots=True)
class Row:
    """A REST route.

    The user's LiteLLM key pays for requests from the user and from Letta.

    Attributes:
        path: the template of the path, which is also the route's name in metrics.
        origin: who sends requests. ``USER`` requires a user's token. ``LETTA`` requires an agent secret or Letta's own
            key.
        counts: the rate limits that apply to a request to this route.
    """

    method: str
    path: str
    work: Work
    origin: Origin = Origin.USER
    counts: tuple[LimitKind, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Set ``counts``."""
        calls_model = self.work not in _WITHOUT_MODEL
        of_user = (LimitKind.GENERAL, LimitKind.LLM) if calls_model else (LimitKind.GENERAL,)
        object.__setattr__(self, "counts", of_user if self.origin is Origin.USER else (LimitKind.PROXY,))


def _proxy(method: str, path: str, work: Work) -> Row:
    return Row(method, f"{PROXY}{path}", work, Origin.LETTA)


TABLE = (
    Row("POST", "/v1/chat/completions", Work.CHAT),
    Row("POST", "/v1/embeddings", Work.EMBEDDINGS),
    Row("POST", "/v1/responses", Work.RESPONSES),
    Row("GET", "/v1/responses/{response_id}", Work.RESPONSE),
    Row("DELETE", "/v1/responses/{response_id}", Work.DELETE_RESPONSE),
    Row("GET", "/v1/responses/{response_id}/input_items", Work.INPUT_ITEMS),
    Row("GET", "/v1/models", Work.MODELS),
    Row("GET", "/v1/models/{model}", Work.MODELS),
    _proxy("POST", "", Work.BY_BODY),
    _proxy("POST", "/chat/completions", Work.CHAT),
    _proxy("POST", "/embeddings", Work.EMBEDDINGS),
    _proxy("POST", "/responses", Work.RESPONSES),
    _proxy("GET", "/models", Work.NO_MODELS),
)

_PATTERNS = {"{user_id}": "(?P<user_id>[^/]+)", "{model}": "(?P<model>.+)", "{response_id}": "(?P<response_id>[^/]+)"}


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", template)
    return re.compile("".join(_PATTERNS.get(part) or re.escape(part) for part in parts))


_EXACT: dict[str, list[tuple[Row, dict[str, str]]]] = {
    path: [(row, {}) for row in TABLE if row.path == path] for path in {row.path for row in TABLE} if "{" not in path
}
_ROWS = [(row, _pattern(row.path)) for row in TABLE if "{" in row.path]
_PROXIED = re.compile(_pattern(PROXY).pattern + "(/.*)?")


def rows_at(path: str) -> list[tuple[Row, dict[str, str]]]:
    """Return the routes that match a path, with the values of the path's parameters."""
    exact = _EXACT.get(path)
    if exact is not None:
        return exact
    return [(row, match.groupdict()) for row, pattern in _ROWS if (match := pattern.fullmatch(path))]


def proxied_user(path: str) -> str | None:
    """Return the user id in a proxy path, or ``None`` for any other path."""
    match = _PROXIED.fullmatch(path) if path.startswith("/api/") else None
    return None if match is None else match["user_id"]


def is_rest(path: str) -> bool:
    """Return whether a path belongs to the REST endpoints."""
    return path.startswith("/v1/") or proxied_user(path) is not None


def origin_of(path: str) -> Origin:
    """Return who sends requests to a path: users or Letta."""
    return Origin.USER if proxied_user(path) is None else Origin.LETTA


def endpoint_of(path: str) -> Endpoint:
    """Return the endpoint at a path, for requests over HTTP."""
    if path in _EXACT:
        return Endpoint.V1
    if path == "/metrics":
        return Endpoint.METRICS
    if not is_rest(path):
        return Endpoint.HTTP
    return Endpoint.V1 if origin_of(path) is Origin.USER else Endpoint.PROXY


def counts_of(path: str) -> tuple[LimitKind, ...]:
    """Return the rate limits that apply to a request that no route matches."""
    return (LimitKind.PROXY if origin_of(path) is Origin.LETTA else LimitKind.GENERAL,)


def template_of(path: str) -> str | None:
    """Return the template of the route that matches a path, or ``None``."""
    return path if path in _EXACT else next((row.path for row, _ in rows_at(path)), None)
