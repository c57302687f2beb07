"""All checks, in the order of the output. A check stands after the checks that it needs."""

from __future__ import annotations

from app.doctor import (
    ams,
    browsers,
    callbacks,
    configuration,
    letta,
    litellm,
    litellm_settings,
    network,
    redis,
    servers,
    supabase,
)
from app.doctor.check import Check
from clients.errors import Service

TITLES = {
    "settings": "Settings",
    "ams": "AMS",
    "letta": "Letta",
    "litellm": "LiteLLM",
    "supabase": "Supabase",
    "redis": "Redis",
    "callback": "Letta's calls to the gateway",
    "browser": "Browsers",
}
"""The titles of the groups, in the order of the output."""


def _of_server(service: Service) -> tuple[Check, ...]:
    return (*network.checks_of(service), *servers.checks_of(service))


CHECKS: tuple[Check, ...] = (
    *configuration.CHECKS,
    *_of_server(Service.AMS),
    *ams.CHECKS,
    *_of_server(Service.LETTA),
    *letta.CHECKS,
    *_of_server(Service.LITELLM),
    *litellm.CHECKS,
    *litellm_settings.CHECKS,
    *_of_server(Service.SUPABASE),
    *supabase.CHECKS,
    *redis.CHECKS,
    *callbacks.CHECKS,
    *browsers.CHECKS,
)
