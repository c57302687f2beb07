"""Checks at the start whether the services respond and accept the gateway's keys.

A wrong address or key is therefore logged before users see errors. During the checks, the gateway already serves
requests. A service that starts later is used as soon as it answers.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.settings import Settings
from app.telemetry import Telemetry
from clients.ams import Ams
from clients.calls import CallScope
from clients.causes import cause_of
from clients.codes import Reason
from clients.decode import display_name
from clients.errors import GatewayError, Service, UpstreamTimeout, UpstreamUnavailable, WrongServer
from clients.letta.client import Letta
from clients.litellm import LiteLLM
from resolvers.resources import Resources

PROBE_SECONDS = 5.0
"""The timeout of a probe, in seconds."""

Check = Callable[[CallScope], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Describes the calls that check a service's URL and key.

    Attributes:
        variable: the environment variable with the URL.
        ping: calls the service without the key.
        key: the environment variable with the gateway's key for the service.
        check_key: makes a call that needs the key.
        embedded: whether the gateway has an embedded replacement for the service.
    """

    service: Service
    url: str
    variable: str
    ping: Check
    key: str | None = None
    check_key: Check | None = None
    embedded: bool = True


def probes_of(settings: Settings, resources: Resources, pings: Mapping[Service, Check]) -> list[Probe]:
    """Return a probe for each service whose URL is set. ``pings`` has the services' health checks."""
    fallback = not settings.is_production
    platform_key, probes = resources.platform_key, []
    if (url := settings.ams_base_url) is not None:
        ams: Ams = resources.ams
        probes.append(Probe(service=Service.AMS, url=url, variable="AMS_BASE_URL", ping=ams.ping, embedded=fallback))
    if (url := settings.letta_base_url) is not None:
        letta: Letta = resources.letta
        probes.append(
            Probe(
                service=Service.LETTA,
                url=url,
                variable="LETTA_BASE_URL",
                ping=letta.ping,
                key="LETTA_API_KEY",
                check_key=letta.check_key,
                embedded=fallback,
            )
        )
    if (url := settings.litellm_base_url) is not None:
        litellm: LiteLLM = resources.litellm
        probes.append(
            Probe(
                service=Service.LITELLM,
                url=url,
                variable="LITELLM_BASE_URL",
                ping=litellm.ping,
                key="LITELLM_API_KEY",
                check_key=None if platform_key is None else lambda scope: litellm.openai_models(scope, platform_key),
                embedded=fallback,
            )
        )
    others = {Service.SUPABASE: settings.supabase_url, Service.REDIS: settings.redis_url}
    probes += [
        Probe(service=service, url=url, variable=f"{service.name}_URL", ping=pings[service], embedded=False)
        for service, url in others.items()
        if url is not None
    ]
    return probes


async def report(probes: list[Probe], telemetry: Telemetry) -> None:
    """Run all probes concurrently, and log each failed probe."""
    await asyncio.gather(*(_report(probe, telemetry) for probe in probes))


async def _report(probe: Probe, telemetry: Telemetry) -> None:
    text = await _problem(probe)
    if text is not None:
        telemetry.announce("service", text, level="warning", service=probe.service.value)


async def _problem(probe: Probe) -> str | None:
    scope = CallScope(f"start-{uuid.uuid4()}", time.monotonic() + PROBE_SECONDS)
    name, url = display_name(probe.service), _without_secrets(probe.url)
    advice = f"Check {probe.variable}{', or unset the variable to use the embedded service' if probe.embedded else ''}."
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe.ping(scope)
    except (TimeoutError, UpstreamTimeout):
        return f"{name} does not answer at {url} within {PROBE_SECONDS:g} s. {advice}"
    except UpstreamUnavailable as error:
        cause = cause_of(error)
        return f"The gateway cannot connect to {name} at {url}{f': {cause}' if cause else ''}. {advice}"
    except WrongServer as error:
        return f"The gateway cannot use {url} as {name}. {error.message} {advice}"
    except GatewayError as error:
        return f"The server at {url} is not {name}, or {name} fails. {error.message} {advice}"
    return await _key_problem(probe, scope, f"{name} at {url}")


async def _key_problem(probe: Probe, scope: CallScope, name: str) -> str | None:
    if probe.check_key is None:
        return None
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe.check_key(scope)
    except GatewayError as error:
        if error.reason == Reason.CREDENTIAL:
            return f"{name} refuses the gateway's key. Check {probe.key}."
        return f"{name} answers, but a call with the gateway's key failed. {error.message} Check {probe.variable}."
    except TimeoutError:
        return (
            f"{name} did not answer an authenticated call within {PROBE_SECONDS:g} s. Check the service's load and log."
        )
    return None


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
