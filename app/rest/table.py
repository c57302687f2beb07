"""The routes of REST: their paths, work, origins and rate limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from clients.origin import Origin
from resolvers.limits import LimitKind

PROXY = "/api/v1/agents/{user_id}/proxy"


class Work(StrEnum):
    """The kind of answer of a route."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    BY_BODY = "by body"
    """Chat or embeddings, by the body (``AMS.md``: some versions of Letta post to the proxy itself)."""
    MODELS = "models"
    NO_MODELS = "no models"
    """An empty list. Letta would store the models under the handles of its base provider, where they take precedence:
    other users' agents would then call with the first user's secret.
    """


@dataclass(frozen=True, slots=True)
class Row:
    """One route. The user's own LiteLLM key pays, whatever the origin.

    Attributes:
        path: the template of its path, and its name in the metrics.
        origin: the origin of its requests. ``USER`` requires the user's token; ``LETTA`` the agent secret or Letta's
            own key.
    """

    method: str
    path: str
    work: Work
    origin: Origin = Origin.USER

    @property
    def counts(self) -> tuple[LimitKind, ...]:
        """The rate limits that count a request, in one step."""
        if self.origin is Origin.LETTA:
            return (LimitKind.PROXY,)
        works = self.work not in {Work.MODELS, Work.NO_MODELS}
        return (LimitKind.GENERAL, LimitKind.LLM) if works else (LimitKind.GENERAL,)


def _proxy(method: str, path: str, work: Work) -> Row:
    return Row(method, f"{PROXY}{path}", work, Origin.LETTA)


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
    """Return the rows of a path for all methods, with the values of the template's parameters."""
    return [(row, match.groupdict()) for row, pattern in _ROWS if (match := pattern.fullmatch(path))]


def proxied_user(path: str) -> str | None:
    """Return the user id in the path of a proxy; ``None`` for every other path."""
    match = _PROXIED.fullmatch(path)
    return None if match is None else match["user_id"]


def is_rest(path: str) -> bool:
    """Whether a path is one of REST."""
    return path.startswith("/v1/") or _PROXIED.fullmatch(path) is not None


def origin_of(path: str) -> Origin:
    """Return the origin of signed-in requests to a path."""
    return Origin.LETTA if _PROXIED.fullmatch(path) else Origin.USER


def counts_of(path: str, method: str) -> tuple[LimitKind, ...]:
    """Return the rate limits that count a request, also without a row."""
    row = next((row for row, _ in rows_at(path) if row.method == method), None)
    if row is not None:
        return row.counts
    return (LimitKind.PROXY if origin_of(path) is Origin.LETTA else LimitKind.GENERAL,)


def template_of(path: str) -> str | None:
    """Return the template of a path; ``None`` if it has no row."""
    return next((row.path for row, _ in rows_at(path)), None)
