"""Checks whether Letta's model calls can go through the gateway."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, bare_url, listed, ok, problem, warning
from app.doctor.identity import body_of, is_gateway
from app.doctor.installation import Installation, Server, is_loopback
from app.setting_kinds import revealed
from clients.errors import Service
from clients.site import NoAnswer

_PROXY = "/api/v1/agents/"
"""The path below ``PUBLIC_URL`` at which agents make their model calls (AMS contract)."""

_AGENTS = 20


def _public(installation: Installation) -> Server:
    if installation.public is None:
        raise NotChecked("PUBLIC_URL is not set.")
    return installation.public


async def _address(installation: Installation) -> Finding:
    public, letta = _public(installation), installation.settings.letta_base_url
    is_remote = letta is not None and not is_loopback(str(urlsplit(letta).hostname))
    if public.is_local and is_remote:
        return problem(
            f"PUBLIC_URL is {public.url}, which on Letta's machine leads to Letta's machine.",
            "Set PUBLIC_URL to an address of the gateway that Letta reaches.",
        )
    return ok(f"PUBLIC_URL is {public.url}.")


async def _gateway(installation: Installation) -> Finding:
    public = _public(installation)
    try:
        answer = await public.answer("/readyz")
    except NoAnswer as error:
        return warning(
            f"Nothing answers at PUBLIC_URL={public.url}: {error}.",
            "Start the gateway, or correct PUBLIC_URL. If only Letta's network reaches this address, ignore this.",
        )
    if not is_gateway(answer):
        return problem(
            f"The server at PUBLIC_URL={public.url} is no gateway: it answers /readyz with status {answer.status}.",
            "Set PUBLIC_URL to the URL at which Letta reaches the gateway, without a path behind the gateway's own.",
        )
    return ok(f"A gateway answers at {public.url}.")


async def _secret(installation: Installation) -> Finding:
    _public(installation)
    settings = installation.settings
    if settings.agent_secret_master_key is not None or settings.development_tokens:
        return ok("The gateway has a master key, from which agent secrets are derived.")
    return problem(
        "AGENT_SECRET_MASTER_KEY is not set, so the gateway accepts no agent secret, and Letta's model calls fail.",
        "Set AGENT_SECRET_MASTER_KEY to the same random value of at least 32 bytes here and in AMS.",
    )


async def _embeddings(installation: Installation) -> Finding:
    _public(installation)
    if installation.settings.letta_base_url is None:
        raise NotChecked("LETTA_BASE_URL is not set, and the embedded Letta needs no LETTA_PROXY_KEY.")
    if installation.settings.letta_proxy_key is None:
        return warning(
            "LETTA_PROXY_KEY is not set. The gateway refuses Letta's own OPENAI_API_KEY, which embeddings have.",
            "Set LETTA_PROXY_KEY to Letta's OPENAI_API_KEY, of at least 32 characters.",
        )
    return ok("LETTA_PROXY_KEY is set.")


async def _agents(installation: Installation) -> Finding:
    public, letta = _public(installation), installation.service(Service.LETTA)
    key = revealed(installation.settings.letta_api_key)
    body = body_of(await letta.answer("/v1/agents/", key=key, params=[("limit", str(_AGENTS))]))
    agents = [one for one in body if isinstance(one, dict)] if isinstance(body, list) else []
    proxied = [base for base, path, _ in (_endpoint(one).partition(_PROXY) for one in agents) if path]
    others = sorted({base for base in proxied if base != public.url})
    if others:
        return warning(
            f"Of the {len(agents)} newest agents, {sum(base != public.url for base in proxied)} make their model calls "
            f"at {listed(others)}, and not at PUBLIC_URL={public.url}.",
            "If this address does not lead to the gateway any more, update `llm_config.model_endpoint` of the agents "
            "in Letta.",
        )
    return ok(f"Of the {len(agents)} newest agents, {len(proxied)} make their model calls at PUBLIC_URL.")


def _endpoint(agent: dict[str, Any]) -> str:
    config = agent.get("llm_config")
    return bare_url(str(config.get("model_endpoint"))) if isinstance(config, dict) else ""


CHECKS = (
    Check(
        name="callback.address",
        looks_at="a `PUBLIC_URL` of this machine although Letta runs on another machine",
        run=_address,
    ),
    Check(
        name="callback.gateway",
        looks_at="no gateway at `PUBLIC_URL`, or another program",
        run=_gateway,
        needs=("callback.address",),
    ),
    Check(
        name="callback.secret",
        looks_at="a missing `AGENT_SECRET_MASTER_KEY`",
        run=_secret,
    ),
    Check(
        name="callback.embeddings",
        looks_at="a missing `LETTA_PROXY_KEY`, which Letta's embeddings need",
        run=_embeddings,
    ),
    Check(
        name="callback.agents",
        looks_at="agents in Letta whose model calls go to another gateway address than `PUBLIC_URL`",
        run=_agents,
        needs=("letta.key",),
    ),
)
"""The checks of Letta's calls to the gateway."""
