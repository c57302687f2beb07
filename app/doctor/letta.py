"""Checks of Letta: its version, its key, its Redis and its models."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, listed, ok, problem, shown, warning
from app.doctor.identity import body_of
from app.doctor.installation import Installation, Server, is_embedded
from app.doctor.servers import refused
from app.setting_kinds import revealed
from clients.calls import Answer
from clients.errors import Service
from clients.letta.app_server import HEALTH_PATH

KNOWN_VERSION = "0.16.8"
"""The version with which the gateway is tested. It is the last one with this API (Letta contract)."""

_AGENTS = "/v1/agents/"
_ONE = [("limit", "1")]
_OPENAI = "api.openai.com"
_NO_CONVERSATION = "/v1/conversations/conv-00000000-0000-4000-8000-000000000000/stream"
"""The path that resumes the stream of a conversation that does not exist. Letta looks for its Redis first."""


def _site(installation: Installation) -> Server:
    return installation.service(Service.LETTA)


def _key(installation: Installation) -> str | None:
    return revealed(installation.settings.letta_api_key)


async def _version(installation: Installation) -> Finding:
    body = body_of(await _site(installation).answer(HEALTH_PATH))
    version = shown(body["version"]) if isinstance(body, dict) else "unknown"
    if version == KNOWN_VERSION:
        return ok(f"Letta's version is {version}.")
    return warning(
        f"Letta's version is {version}. The gateway is tested with {KNOWN_VERSION} only.",
        f"Run Letta {KNOWN_VERSION}: the image letta/letta:{KNOWN_VERSION}, or `pip install letta=={KNOWN_VERSION}`.",
    )


async def _accepted(installation: Installation) -> Finding:
    answer = await _agents(installation)
    if refused(answer):
        return problem(
            f"Letta refuses LETTA_API_KEY with status {answer.status}.",
            "Set LETTA_API_KEY to Letta's LETTA_SERVER_PASSWORD.",
        )
    if answer.status >= 400 or not isinstance(body_of(answer), list):
        return problem(
            f"Letta answers {_AGENTS} with status {answer.status}.",
            "Check Letta's log, and the connection of Letta to its database.",
        )
    return ok("Letta accepts LETTA_API_KEY.")


async def _agents(installation: Installation) -> Answer:
    return await _site(installation).answer(_AGENTS, key=_key(installation), params=_ONE)


async def _password(installation: Installation) -> Finding:
    answer = await _site(installation).answer(_AGENTS, params=_ONE)
    if answer.status == 200:
        return warning(
            "Letta answers calls without a password: everybody who reaches Letta can change every agent.",
            "Start Letta with LETTA_SERVER_SECURE=true and a long random LETTA_SERVER_PASSWORD.",
        )
    if not refused(answer):
        raise NotChecked(f"Letta answers calls without a password with status {answer.status}, which shows no refusal.")
    return ok(f"Letta refuses calls without a password with status {answer.status}.")


async def _redis(installation: Installation) -> Finding:
    site, key = _site(installation), _key(installation)
    if is_embedded(await site.answer(HEALTH_PATH)):
        raise NotChecked("The embedded Letta needs no Redis.")
    headers = {"content-type": "application/json"}
    answer = await site.answer(_NO_CONVERSATION, key=key, method="POST", headers=headers, body=b"{}")
    if answer.status == 503 and re.search(rb"redis", answer.body, re.IGNORECASE):
        return warning(
            "Letta has no Redis, so turns run in the foreground, and a lost connection loses the rest of an answer.",
            "Start Letta with LETTA_REDIS_HOST and LETTA_REDIS_PORT.",
        )
    if answer.status != 400:
        raise NotChecked(f"Letta's answer, with status {answer.status}, does not show whether Letta has a Redis.")
    return ok("Letta has a Redis, so turns can run in the background.")


async def _models(installation: Installation) -> Finding:
    answer = await _site(installation).answer("/v1/models/", key=_key(installation))
    body = body_of(answer)
    models = [one for one in body if isinstance(one, dict)] if isinstance(body, list) else None
    if answer.status != 200 or models is None:
        return problem(
            f"Letta answers /v1/models/ with status {answer.status}.",
            "Check Letta's log, and whether Letta reaches its OPENAI_BASE_URL.",
        )
    if is_embedded(answer):
        return ok(f"The embedded Letta has {len(models)} models.")
    own = [one for one in models if not _is_lettas(one)]
    if not own:
        return problem(
            "Letta has no model of your LiteLLM.",
            "Start Letta with OPENAI_BASE_URL=<LITELLM_BASE_URL>/v1 and OPENAI_API_KEY, after LiteLLM has started.",
        )
    return _endpoints(own)


def _endpoints(models: list[dict[str, Any]]) -> Finding:
    hosts = {_host(str(one.get("model_endpoint"))) for one in models}
    if _OPENAI in hosts:
        return warning(
            f"Letta calls models at {_OPENAI}, so LiteLLM neither charges these calls nor limits them.",
            "Start Letta with OPENAI_BASE_URL=<LITELLM_BASE_URL>/v1.",
        )
    return ok(f"Letta has {len(models)} models at {listed(sorted(hosts))}.")


def _host(url: str) -> str:
    try:
        return str(urlsplit(url).hostname)
    except ValueError:
        return "an invalid URL"


def _is_lettas(model: dict[str, Any]) -> bool:
    return str(model.get("handle", "")).startswith("letta/")


CHECKS = (
    Check(
        name="letta.version",
        looks_at=f"a version of Letta other than {KNOWN_VERSION}",
        run=_version,
        needs=("letta.server",),
    ),
    Check(name="letta.key", looks_at="a wrong `LETTA_API_KEY`", run=_accepted, needs=("letta.server",)),
    Check(
        name="letta.password",
        looks_at="a Letta without a password (`LETTA_SERVER_SECURE`, `LETTA_SERVER_PASSWORD`)",
        run=_password,
        needs=("letta.server",),
    ),
    Check(name="letta.redis", looks_at="a Letta without Redis (`LETTA_REDIS_HOST`)", run=_redis, needs=("letta.key",)),
    Check(
        name="letta.models",
        looks_at="a Letta without models, or with models that bypass LiteLLM (`OPENAI_BASE_URL`)",
        run=_models,
        needs=("letta.key",),
    ),
)
"""The checks of Letta, after those of its address and server."""
