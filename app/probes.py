"""The services behind the gateway, asked once at the start: a wrong address or key is seen before a user meets it.

Listening does not wait for the answers. A service that starts a little later is used as soon as it is there.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.settings import Settings
from app.telemetry import Telemetry
from clients.ams import Ams
from clients.calls import CallScope
from clients.causes import cause_of
from clients.codes import Reason
from clients.decode import display_name
from clients.errors import GatewayError, Service, UpstreamTimeout, UpstreamUnavailable
from clients.letta.client import Letta
from clients.litellm import LiteLLM
from resolvers.resources import Resources

PROBE_SECONDS = 5.0
"""How long a service has to answer."""

Ask = Callable[[CallScope], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How to ask one service.

    Attributes:
        url: where it is; only its scheme, host and path are shown.
        variable: the setting that says so.
        present: asks whether it is there.
        key: the setting with the gateway's key for it, where ``allowed`` can try that.
        allowed: asks for something that needs the key.
        embedded: whether there is an embedded one to fall back on.
    """

    service: Service
    url: str
    variable: str
    present: Ask
    key: str | None = None
    allowed: Ask | None = None
    embedded: bool = True


def probes_of(settings: Settings, resources: Resources, redis: Ask | None) -> list[Probe]:
    """A probe for each service that is real."""
    fallback = not settings.is_production
    platform_key, found = resources.platform_key, []
    if (url := settings.ams_base_url) is not None:
        ams: Ams = resources.ams
        found.append(Probe(service=Service.AMS, url=url, variable="AMS_BASE_URL", present=ams.ping, embedded=fallback))
    if (url := settings.letta_base_url) is not None:
        letta: Letta = resources.letta
        found.append(
            Probe(
                service=Service.LETTA,
                url=url,
                variable="LETTA_BASE_URL",
                present=letta.ping,
                key="LETTA_API_KEY",
                allowed=letta.check_key,
                embedded=fallback,
            )
        )
    if (url := settings.litellm_base_url) is not None:
        litellm: LiteLLM = resources.litellm
        found.append(
            Probe(
                service=Service.LITELLM,
                url=url,
                variable="LITELLM_BASE_URL",
                present=litellm.ping,
                key="LITELLM_API_KEY",
                allowed=None if platform_key is None else lambda scope: litellm.openai_models(scope, platform_key),
                embedded=fallback,
            )
        )
    if settings.redis_url is not None and redis is not None:
        found.append(
            Probe(service=Service.REDIS, url=settings.redis_url, variable="REDIS_URL", present=redis, embedded=False)
        )
    return found


async def report(probes: list[Probe], telemetry: Telemetry) -> None:
    """Ask every service, side by side, and say which of them is down or refuses the key, with the cure."""
    await asyncio.gather(*(_report(probe, telemetry) for probe in probes))


async def _report(probe: Probe, telemetry: Telemetry) -> None:
    text = await _problem(probe)
    if text is not None:
        telemetry.announce("service", text, level="warning", service=probe.service.value)


async def _problem(probe: Probe) -> str | None:
    """Describe a service's fault and its cure, a sentence each; ``None`` if the service is well."""
    scope = CallScope(f"start-{uuid.uuid4()}", time.monotonic() + PROBE_SECONDS)
    name, place = display_name(probe.service), shown(probe.url)
    cure = f"Check {probe.variable}{', or leave it empty for the embedded one' if probe.embedded else ''}."
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe.present(scope)
    except (TimeoutError, UpstreamTimeout):
        return f"{name} does not answer at {place} within {PROBE_SECONDS:g} s. {cure}"
    except UpstreamUnavailable as error:
        cause = cause_of(error)
        return f"{name} does not answer at {place}{f': {cause}' if cause else ''}. {cure}"
    except GatewayError as error:
        return f"What answers at {place} is not {name}, or it is broken: {error.message} {cure}"
    return await _key_problem(probe, scope, f"{name} at {place}")


async def _key_problem(probe: Probe, scope: CallScope, name: str) -> str | None:
    if probe.allowed is None:
        return None
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe.allowed(scope)
    except GatewayError as error:
        if error.reason == Reason.CREDENTIAL:
            return f"{name} refuses the gateway's key. Check {probe.key}."
        return f"{name} answers, but not what is asked of it: {error.message} Check {probe.variable}."
    except TimeoutError:
        return f"{name} did not list anything within {PROBE_SECONDS:g} s: it is slow, or hangs."
    return None


def shown(url: str) -> str:
    """A URL without user name, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
