"""Checks whether web pages of an origin may use the gateway (CORS)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from app import origins
from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, listed, ok, problem
from app.doctor.identity import is_gateway
from app.doctor.installation import Installation
from clients.site import NoAnswer

_PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


def normal_origin(text: str) -> str:
    """Return an origin in the form in which browsers send it. Raises ValueError for anything else."""
    parsed = origins.parse(text)
    if len(parsed.exact) != 1 or parsed.pattern is not None or parsed.exact[0] in origins.ANY:
        raise ValueError(f"{text!r} is not one origin of a web page. Write scheme://host or scheme://host:port")
    return parsed.exact[0]


def _origin(installation: Installation) -> str:
    if installation.options.origin is None:
        raise NotChecked("Name the origin of your web pages with --origin, for example https://app.example.com.")
    return installation.options.origin


async def _settings(installation: Installation) -> Finding:
    origin, settings = _origin(installation), installation.settings
    if is_allowed(origin, settings.cors_origins, settings.cors_origin_regex):
        return ok(f"ALLOWED_ORIGINS allows {origin}.")
    allowed = listed(origins_in(settings.allowed_origins)) or "no origin"
    near = _near(origin, origins_in(settings.allowed_origins))
    return problem(
        f"Web pages of {origin} cannot read the gateway's answers: ALLOWED_ORIGINS allows {allowed}.{near}",
        f"Add {origin} to ALLOWED_ORIGINS.",
    )


def is_allowed(origin: str, exact: tuple[str, ...], pattern: str | None) -> bool:
    """Return whether CORS allows an origin."""
    return "*" in exact or origin in exact or (pattern is not None and re.fullmatch(pattern, origin) is not None)


def origins_in(setting: str | None) -> list[str]:
    """Return the entries of ``ALLOWED_ORIGINS``."""
    return [text.strip() for text in (setting or "").split(",") if text.strip()]


def _near(origin: str, allowed: list[str]) -> str:
    """Explain the difference between an origin and an allowed one with the same host."""
    host = urlsplit(origin).hostname
    for one in allowed:
        if host == urlsplit(one).hostname:
            return f" The scheme and the port of {one} differ from those of {origin}."
        if one.partition("://*.")[2] and str(host).endswith(one.partition("://*")[2].partition(":")[0]):
            return f" In {one}, * stands for exactly one label, and the scheme and the port must be equal."
        if one.partition("://*.")[2] == host:
            return f" {one} allows only hosts below {host}."
    return ""


async def _preflight(installation: Installation) -> Finding:
    origin, gateway = _origin(installation), installation.gateway
    try:
        if installation.settings.port == 0 or not is_gateway(await gateway.answer("/readyz")):
            raise NotChecked("No gateway runs at PORT.")
        answer = await gateway.answer("/graphql", method="OPTIONS", headers={"origin": origin, **_PREFLIGHT})
    except NoAnswer as error:
        raise NotChecked(f"No gateway runs at PORT: {error}.") from error
    if answer.headers.get("access-control-allow-origin") in {origin, "*"}:
        return ok(f"The gateway at {gateway.url} allows {origin}.")
    return problem(
        f"The gateway at {gateway.url} refuses the preflight request of {origin}, although ALLOWED_ORIGINS allows it.",
        "Restart the gateway with the same settings as the doctor.",
    )


CHECKS = (
    Check(
        name="browser.origin",
        looks_at="with `--origin`: an origin that `ALLOWED_ORIGINS` does not allow",
        run=_settings,
    ),
    Check(
        name="browser.preflight",
        looks_at="with `--origin`: a running gateway that refuses the origin's preflight request",
        run=_preflight,
        needs=("browser.origin",),
    ),
)
"""The checks of CORS."""
