"""The routes of ``/v1`` and of the agents' proxy: work, authentication and rate limits of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from resolvers.limits import LimitKind

PROXY = "/api/v1/agents/{user_id}/proxy"


class Work(StrEnum):
    """The work of a route."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    BY_BODY = "by body"
    """Chat or embeddings, depending on the body: some Letta versions post to the proxy's root (``AMS.md``)."""
    MODELS = "models"
    NO_MODELS = "no models"
    """An empty list. Letta would store listed models under its base provider's handles, where they take precedence:
    other users' agents would then call with the credentials of the first user's agents.
    """


class Keys(StrEnum):
    """How a route authenticates. The user's own LiteLLM key pays in either case."""

    TOKEN = "token"  # noqa: S105 - a kind of key, none itself
    """The user's access token."""
    AGENT_SECRET = "agent secret"  # noqa: S105
    """The user's agent secret, or Letta's own key."""


class Limit(StrEnum):
    """Whose places a request takes while it is answered.

    A turn keeps its place while Letta asks the model for it, so what Letta sends back never waits for a place that a
    user's request holds: each class has room of its own.
    """

    USER = "user"
    LETTA = "letta"


@dataclass(frozen=True, slots=True)
class Row:
    """A route. ``path`` is its template, which is also its name in metrics."""

    method: str
    path: str
    work: Work
    keys: Keys = Keys.TOKEN
    limit: Limit = Limit.USER

    @property
    def counts(self) -> tuple[LimitKind, ...]:
        """The rate limits that a request counts against, charged in one step."""
        if self.limit is Limit.LETTA:
            return (LimitKind.PROXY,)
        works = self.work not in {Work.MODELS, Work.NO_MODELS}
        return (LimitKind.GENERAL, LimitKind.LLM) if works else (LimitKind.GENERAL,)


def _proxy(method: str, path: str, work: Work) -> Row:
    return Row(method, f"{PROXY}{path}", work, Keys.AGENT_SECRET, Limit.LETTA)


TABLE = (
    Row("POST", "/v1/chat/completions", Work.CHAT),
    Row("POST", "/v1/embeddings", Work.EMBEDDINGS),
    Row("GET", "/v1/models", Work.MODELS),
    Row("GET", "/v1/models/{model}", Work.MODELS),
    _proxy("POST", "", Work.BY_BODY),
    _proxy("POST", "/chat/completions", Work.CHAT),
    _proxy("POST", "/embeddings", Work.EMBEDDINGS),
    _proxy("GET", "/models", Work.NO_MODELS),
)

_PATTERNS = {"{user_id}": "(?P<user_id>[^/]+)", "{model}": "(?P<model>.+)"}


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", template)
    return re.compile("".join(_PATTERNS.get(part) or re.escape(part) for part in parts))


_ROWS = [(row, _pattern(row.path)) for row in TABLE]
_PROXIED = re.compile(_pattern(PROXY).pattern + "(/.*)?")


def rows_at(path: str) -> list[tuple[Row, dict[str, str]]]:
    """Return the rows that match a path, for any method, with the values of the path's parameters."""
    return [(row, match.groupdict()) for row, pattern in _ROWS if (match := pattern.fullmatch(path))]


def proxied_user(path: str) -> str | None:
    """Return the user id in a proxy's path as it is written; ``None`` for other paths."""
    match = _PROXIED.fullmatch(path)
    return None if match is None else match["user_id"]


def is_rest(path: str) -> bool:
    """Whether a path belongs to ``/v1`` or to a proxy."""
    return path.startswith("/v1/") or _PROXIED.fullmatch(path) is not None


def limit_of(path: str) -> Limit:
    """Whose places a request to a path takes."""
    return Limit.LETTA if _PROXIED.fullmatch(path) else Limit.USER


def counts_of(path: str, method: str) -> tuple[LimitKind, ...]:
    """Return the rate limits that a request counts against; also for paths that the table does not have."""
    row = next((row for row, _ in rows_at(path) if row.method == method), None)
    if row is not None:
        return row.counts
    return (LimitKind.PROXY if limit_of(path) is Limit.LETTA else LimitKind.GENERAL,)


def template_of(path: str) -> str | None:
    """Return the template of a path, without ids and models; ``None`` if no row matches."""
    return next((row.path for row, _ in rows_at(path)), None)
