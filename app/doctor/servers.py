"""Checks which server answers at each service's URL, and the server's clock."""

from __future__ import annotations

import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import urlsplit

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, bare_url, ok, problem, shown, warning
from app.doctor.identity import SIGNS, body_of, program_at
from app.doctor.installation import Installation, Server, is_embedded, variable_of
from app.doctor.network import speaks_tls
from app.setting_kinds import revealed
from clients.calls import Answer
from clients.decode import display_name
from clients.errors import Service
from clients.failures import is_redirect
from clients.letta.app_server import APP_SERVER, CURE
from clients.site import NoAnswer

SKEW_SECONDS = 30.0
"""Two clocks that differ by more than this time are reported, in seconds."""

_REFUSED = frozenset({401, 403})
_MISSING = 404


async def _server(service: Service, installation: Installation) -> Finding:
    server, name = installation.service(service), display_name(service)
    path, sign = SIGNS[service]
    try:
        answer = await _health(service, installation)
    except NoAnswer as error:
        return await _silent(server, error)
    if is_embedded(answer) and sign(answer):
        return _embedded(installation, server)
    if sign(answer) or (service is Service.AMS and _is_report(answer)):
        return ok(f"{name} answers at {server.url}.")
    if is_redirect(answer.status):
        return problem(
            f"The server at {server.url} redirects to {_target(answer)}. The gateway follows no redirect.",
            f"Write the final address in {server.variable}.",
        )
    if answer.status >= 500:
        return problem(
            f"{name}, or a proxy in front of it, answers {path} with status {answer.status}.",
            f"Check {name}'s log, and whether {server.variable} is right.",
        )
    return await _other(service, installation, answer)


async def _health(service: Service, installation: Installation) -> Answer:
    """Ask for a service's health without a key. Only a server that refuses this gets the key."""
    server, (path, _) = installation.service(service), SIGNS[service]
    answer = await server.answer(path)
    if service is Service.AMS and answer.status in _REFUSED and await program_at(server) is None:
        key = revealed(installation.settings.supabase_service_key)
        return await server.answer(path, key=key)  # Supabase refuses calls of a function without a key
    return answer


def _is_report(answer: Answer) -> bool:
    body = body_of(answer)
    return answer.status == 200 and isinstance(body, dict) and body.keys() == {"status"}


def _embedded(installation: Installation, server: Server) -> Finding:
    if installation.settings.is_production:
        return problem(
            f"The server at {server.url} is the embedded {server.name} of `agentgraph embedded`, which is for "
            "development only.",
            f"Set {server.variable} to a real {server.name}.",
        )
    return ok(f"The embedded {server.name} of `agentgraph embedded` answers at {server.url}.")


async def _silent(server: Server, error: NoAnswer) -> Finding:
    if error.connected and not error.timed_out and (found := await _without_tls(server)) is not None:
        return found
    hint = " In a container, localhost is the container itself." if server.is_local else ""
    what = "does not answer" if error.timed_out or error.connected else "cannot be reached"
    return problem(
        f"{server.name} at {server.url} {what}: {error}.",
        f"Start {server.name}, check the host and the port in {server.variable}, and check firewalls.{hint}",
    )


async def _without_tls(server: Server) -> Finding | None:
    """Return the finding for an ``http://`` URL of a server that speaks TLS."""
    origin = server.site.origin
    if origin.scheme != "http" or not await speaks_tls(origin, server.site.seconds):
        return None
    return problem(
        f"The server at {origin.host}:{origin.port} speaks TLS, but {server.variable} is an http:// URL.",
        f"Write https:// in {server.variable}.",
    )


async def _other(service: Service, installation: Installation, answer: Answer) -> Finding:
    """Describe a server that is not the service."""
    server, name = installation.service(service), display_name(service)
    program = await program_at(server)
    if program is not None and program.endswith(APP_SERVER) and service is Service.LETTA:
        return problem(f"The server at {server.variable} is {program}.", CURE)
    if program is not None:
        swapped = [one for one in SIGNS if display_name(one) == program]
        hint = f" {variable_of(swapped[0])} may have the URL of {name}." if swapped else ""
        return problem(
            f"The server at {server.url} is {program}, not {name}.", f"Set {server.variable} to {name}'s URL.{hint}"
        )
    if (found := await _at_root(service, installation)) is not None:
        return found
    if (found := await _without_tls(server)) is not None:
        return found
    page = " with a web page" if "html" in answer.headers.get("content-type", "") else ""
    return problem(
        f"The server at {server.url} is not {name}: it answers {SIGNS[service][0]} with status {answer.status}{page}.",
        f"Set {server.variable} to {name}'s base URL. A login page or a proxy in front of {name} must let the "
        "gateway's calls pass.",
    )


async def _at_root(service: Service, installation: Installation) -> Finding | None:
    """Look for the service at the same host without the URL's path."""
    server, parts = installation.service(service), urlsplit(installation.service(service).url)
    if not parts.path:
        return None
    path, sign = SIGNS[service]
    root = installation.server_at(server.name, server.variable, f"{parts.scheme}://{parts.netloc}")
    try:
        if not sign(await root.answer(path)):
            return None
    except NoAnswer:
        return None
    finally:
        await root.aclose()
    return problem(
        f"{server.name} answers at {root.url}, but not at the path {parts.path} of {server.variable}.",
        f"Write {server.variable}={root.url}.",
    )


def _target(answer: Answer) -> str:
    """Return the address of a redirect."""
    return shown(bare_url(answer.headers.get("location", ""))) or "nothing"


async def _clock(service: Service, installation: Installation) -> Finding:
    server = installation.service(service)
    began = time.time()
    answer = await server.answer(f"{SIGNS[service][0]}", headers={"cache-control": "no-cache"})
    ended = time.time()
    date = answer.headers.get("date")
    if date is None:
        raise NotChecked(f"{server.name} sends no Date header.")
    try:
        ahead = _ahead(parsedate_to_datetime(date), began, ended)
    except (ValueError, OverflowError):
        raise NotChecked(f"{server.name} sends the invalid Date header {shown(date)}.") from None
    return skew(server.name, ahead, hard=service is Service.SUPABASE)


def _ahead(at: datetime, began: float, ended: float) -> float:
    """Return how many seconds a clock is ahead. The time was read between ``began`` and ``ended``."""
    seconds = at.timestamp()
    return seconds - ended if seconds > ended else min(0.0, seconds + 1 - began)


def skew(name: str, ahead: float, *, hard: bool = False) -> Finding:
    """Return the finding for a clock that is ``ahead`` of this machine's by some seconds."""
    if abs(ahead) <= SKEW_SECONDS:
        return ok(f"{name}'s clock and this machine's clock agree within {SKEW_SECONDS:g} s.")
    direction = "ahead of" if ahead > 0 else "behind"
    effect = "The gateway refuses valid tokens, or accepts expired ones." if hard else "Deadlines and usage are wrong."
    return (problem if hard else warning)(
        f"{name}'s clock is {abs(ahead):.0f} s {direction} this machine's clock. {effect}",
        f"Synchronise both clocks with NTP: this machine's and {name}'s.",
    )


def checks_of(service: Service) -> tuple[Check, Check]:
    """Return the checks of a service's server and of the server's clock."""
    group, name = service.value, display_name(service)
    app_server = ", Letta's App Server" if service is Service.LETTA else ""
    return (
        Check(
            name=f"{group}.server",
            looks_at=(
                f"no answer at `{variable_of(service)}`, or a program that is not {name}: another service{app_server}, "
                "a web page, a redirect, a superfluous path; `http://` for a server with TLS"
            ),
            run=partial(_server, service),
            needs=(f"{group}.tls",),
        ),
        Check(
            name=f"{group}.clock",
            looks_at=f"a clock of {name} that differs from this machine's by more than {SKEW_SECONDS:g} s",
            run=partial(_clock, service),
            needs=(f"{group}.server",),
        ),
    )


def missing(answer: Answer) -> bool:
    """Return whether the server does not have the path of a request."""
    return answer.status == _MISSING


def refused(answer: Answer) -> bool:
    """Return whether the server refuses the key of a request."""
    return answer.status in _REFUSED
