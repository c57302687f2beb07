"""An HTML answer: text with gaps, and the headers that say what it may load and who may keep it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import HTMLResponse

_GAP = re.compile(r"\{\{(\w+)\}\}")
_FOLDER = Path(__file__).parent


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def read(name: str) -> str:
    """A text file of this package's folder."""
    return (_FOLDER / name).read_text()


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with each ``{{name}}`` replaced by its value, escaped unless it is ``Markup``."""

    def value(gap: re.Match[str]) -> str:
        text = values[gap[1]]
        return text if isinstance(text, Markup) else html.escape(text)

    return _GAP.sub(value, template)


def digest(inline: str) -> str:
    """How a policy names an inline script or style (Content Security Policy 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


def policy(**sources: str) -> str:
    """A Content-Security-Policy: nothing but what is named, in no frame, and no form goes anywhere."""
    named = {name.replace("_", "-"): value for name, value in sources.items()}
    rules = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
    return "; ".join(f"{name} {value}" for name, value in (rules | named).items())


def page(text: str, content_policy: str, *, secret: bool = False, vary: str | None = None) -> HTMLResponse:
    """The answer. A page with a token in it (``secret``) is kept nowhere; any other is asked for anew each time."""
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
