"""Creates HTML responses from templates, with headers for security and caching."""

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import HTMLResponse

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_FOLDER = Path(__file__).parent


class Markup(str):
    """HTML text that templates insert without escaping."""

    __slots__ = ()


def read(name: str) -> str:
    """Return the text of a file in the package ``app.pages``."""
    return (_FOLDER / name).read_text()


def filled(template: str, values: Mapping[str, str]) -> str:
    """Replace each ``{{name}}`` in a template with the value of ``name``, escaped for HTML.

    A ``Markup`` value is not escaped.
    """

    def value(gap: re.Match[str]) -> str:
        text = values[gap[1]]
        return text if isinstance(text, Markup) else html.escape(text)

    return _PLACEHOLDER.sub(value, template)


def digest(inline: str) -> str:
    """Return the hash that allows an inline script or style in a Content-Security-Policy.

    See Content Security Policy 3, 2.3.1.
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


def policy(**sources: str) -> str:
    """Return a Content-Security-Policy that allows only the given sources.

    The policy forbids forms and embedding in frames.
    """
    named = {name.replace("_", "-"): value for name, value in sources.items()}
    rules = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
    return "; ".join(f"{name} {value}" for name, value in (rules | named).items())


def page(text: str, content_policy: str, *, secret: bool = False, vary: str | None = None) -> HTMLResponse:
    """Return the response for an HTML page. If ``secret`` is true, the response has ``no-store``."""
    headers = {
        "Content-Security-Policy": content_policy,
        "Cache-Control": "no-store" if secret else "no-cache",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if vary is not None:
        headers["Vary"] = vary
    return HTMLResponse(text, headers=headers)
