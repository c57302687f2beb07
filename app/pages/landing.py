"""The landing page at ``/``: endpoints, health of the services, and code examples."""

import html
import re

from starlette.types import Receive, Scope, Send

from app.asgi import header
from app.endpoints import Endpoints
from app.pages.local import is_local, local_token
from app.pages.page import Markup, digest, filled, page, policy, read
from app.pages.snippets import Snippet, snippets
from app.settings import Settings
from app.version import VERSION

_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_SERVICES = {"ams": "AMS", "letta": "Letta", "litellm": "LiteLLM"}
_ENDPOINTS = [
    ("/graphql", "GraphQL. In a browser: GraphiQL with saved operations."),
    ("/v1", "OpenAI-compatible API for any OpenAI SDK: <code>/v1/chat/completions</code>, <code>/v1/models</code>."),
    ("/docs", "Reference of the REST endpoints (OpenAPI)."),
    ("/health", "Health of the gateway and of each service."),
    ("/metrics", "Prometheus metrics."),
]
_DEMO = ("/demo", "The chat example: a React client with streaming.")
_OPTIONAL = frozenset({"/demo", "/metrics"})
_NO_PAGE = frozenset({"/v1"})


class Landing:
    """Serves the landing page. In production, the page lists only the endpoints."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self._settings = settings
        self._endpoints = endpoints
        style, script = read("landing.css"), read("landing.js")
        name = "landing-production.html" if settings.is_production else "landing.html"
        self._page = filled(read(name), _Partial({"style": Markup(style), "script": Markup(script)}))
        rules = {"style_src": digest(style), "img_src": "data:"}
        if not settings.is_production:
            rules |= {"script_src": digest(script), "connect_src": "'self'"}
        self._policy = policy(**rules)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        token = local_token(scope, self._settings)
        base = _base(scope)
        values = {"base": base}
        if not self._settings.is_production:
            shown = snippets(base, token, development_tokens=self._settings.development_tokens)
            values |= {
                "version": VERSION,
                "environment": self._settings.environment.value,
                "endpoints": address_rows(scope),
                "services": _services(self._settings),
                "faults": self._faults(scope),
                "snippets": Markup("".join(map(_snippet, shown))),
            }
        answer = page(filled(self._page, values), self._policy, secret=token is not None)
        await answer(scope, receive, send)

    def _faults(self, scope: Scope) -> Markup:
        url = self._endpoints.gateway.fault_page if self._endpoints.gateway else None
        if url is None or not is_local(scope):
            return Markup()
        return Markup(f'<p>Make an embedded service fail: <a href="{html.escape(url)}">fault injection</a>.</p>')


class _Partial(dict[str, str]):
    """Values for some placeholders of a template. Other placeholders stay in the template."""

    def __missing__(self, name: str) -> str:
        return Markup("{{" + name + "}}")


def _base(scope: Scope) -> str:
    host = header(scope, b"host") or ""
    if not _HOST.fullmatch(host):
        host = "{}:{}".format(*(scope.get("server") or ("127.0.0.1", 8000)))
    return f"{scope['scheme']}://{host}"


def address_rows(scope: Scope) -> Markup:
    """Return HTML table rows for the endpoints and the chat example.

    The chat example has a row only if it is built, and ``/metrics`` only if no other port has it.
    """
    routes = getattr(scope.get("app"), "routes", [])
    paths = {getattr(route, "path", "").partition("/{")[0] for route in routes}
    known = paths | {path for path, _ in _ENDPOINTS if path not in _OPTIONAL}
    rows = [row for row in (_ENDPOINTS[0], _DEMO, *_ENDPOINTS[1:]) if row[0] in known]
    return Markup("".join(f'<tr><th scope="row">{_link(path)}</th><td>{about}</td></tr>' for path, about in rows))


def _link(path: str) -> str:
    return f"<code>{path}</code>" if path in _NO_PAGE else f'<a href="{path}"><code>{path}</code></a>'


def _services(settings: Settings) -> Markup:
    kinds = {name: "embedded" if name in settings.embedded_services else "real" for name in _SERVICES}
    names = dict(_SERVICES)
    if settings.redis_url is not None:
        names["redis"], kinds["redis"] = "Redis", "real"
    return Markup(
        "".join(
            f'<tr data-service="{name}"><th scope="row">{title}</th><td>{kinds[name]}</td>'
            '<td class="health">checking</td></tr>'
            for name, title in names.items()
        )
    )


def _snippet(one: Snippet) -> str:
    title = html.escape(one.title)
    return (
        f'<section aria-labelledby="{one.name}-title"><div class="head"><h3 id="{one.name}-title">{title}</h3>'
        f'<button type="button" data-copy="{one.name}" aria-label="Copy: {title}">Copy</button></div>'
        f'<p>{html.escape(one.about)}</p><pre id="{one.name}" tabindex="0"><code>{html.escape(one.text)}</code></pre>'
        "</section>"
    )
