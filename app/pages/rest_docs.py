"""Documentation of the REST endpoints whose scripts come from a CDN: ``/redoc``, and ``/docs`` if it is not built."""

import re

from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import Response

from app.pages.page import digest, page, policy

_CDN = "https://cdn.jsdelivr.net/npm"
_SWAGGER = f"{_CDN}/swagger-ui-dist@5/swagger-ui-bundle.js"
_SWAGGER_STYLE = f"{_CDN}/swagger-ui-dist@5/swagger-ui.css"
_REDOC = f"{_CDN}/redoc@2/bundles/redoc.standalone.js"
_ICON = "data:,"
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def swagger() -> Response:
    """Return Swagger UI."""
    text = _text(
        get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="agentgraph",
            swagger_js_url=_SWAGGER,
            swagger_css_url=_SWAGGER_STYLE,
            swagger_favicon_url=_ICON,
        )
    )
    scripts = " ".join([_SWAGGER, *map(digest, _INLINE.findall(text))])
    styles = f"{_SWAGGER_STYLE} 'unsafe-inline'"
    return page(text, policy(script_src=scripts, style_src=styles, img_src="data:", connect_src="'self'"))


def redoc() -> Response:
    """Return Redoc."""
    text = _text(
        get_redoc_html(
            openapi_url="/openapi.json",
            title="agentgraph",
            redoc_js_url=_REDOC,
            redoc_favicon_url=_ICON,
            with_google_fonts=False,
        )
    )
    images = "data: https://cdn.redoc.ly"
    rules = policy(
        script_src=_REDOC, style_src="'unsafe-inline'", img_src=images, worker_src="blob:", connect_src="'self'"
    )
    return page(text, rules)


def _text(answer: Response) -> str:
    return bytes(answer.body).decode()
