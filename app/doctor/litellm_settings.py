"""Checks of those settings of LiteLLM that matter for the gateway. ``docs/operating.md`` gives the reasons."""

from __future__ import annotations

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, listed, ok, problem, warning
from app.doctor.installation import Installation
from app.doctor.litellm import admin_key, key_of, no_embedded, read, site_of, version_of
from clients.litellm import DEPLOYMENTS, GROUPS, ROUTER, Deployment, RouterValues, seconds

_CHECK = "enforce_model_rate_limits"
_BY_CHECK = (1, 107)
"""LiteLLM before this version enforces a deployment's limits with ``enable_pre_call_checks``."""

_DEFAULT_SECONDS = 6000.0
"""LiteLLM's own timeout of a deployment, in seconds."""


async def _router(installation: Installation) -> RouterValues:
    return read(await site_of(installation).answer(ROUTER.path, key=await admin_key(installation)), ROUTER).values


async def _deployments(installation: Installation) -> list[Deployment]:
    await no_embedded(installation)
    return read(await site_of(installation).answer(DEPLOYMENTS.path, key=key_of(installation)), DEPLOYMENTS).data


async def _prices(installation: Installation) -> Finding:
    groups = read(await site_of(installation).answer(GROUPS.path, key=key_of(installation)), GROUPS).data
    models = [group for group in groups if group.is_called]
    if not models:
        return problem(
            "LITELLM_API_KEY may call no chat or embedding model.",
            "Add models to LiteLLM and to the key's `models`.",
        )
    free = [model.name for model in models if not model.is_priced]
    if free:
        return warning(
            f"LiteLLM knows no price of {len(free)} of {len(models)} models: {listed(free)}. Their calls charge no "
            "budget, answers have no `costUsd`, and `maxCostUsd` is refused.",
            "Set `model_info: {input_cost_per_token, output_cost_per_token}` of these models.",
        )
    return ok(f"LiteLLM knows the prices of all {len(models)} models.")


async def _timeouts(installation: Installation) -> Finding:
    deployments = await _deployments(installation)
    try:
        router = await _router(installation)
    except NotChecked:
        router = None
    settings = installation.settings
    first, whole = settings.stream_first_token_seconds, settings.llm_timeout_seconds
    slow = [one.model_name for one in deployments if not _is_bounded(one, router, first, whole)]
    if not slow:
        return ok("Every deployment's timeouts are shorter than the gateway's.")
    unknown = "" if router else " (if router_settings and litellm_settings set none either)"
    return warning(
        f"LiteLLM waits longer for {len(slow)} of {len(deployments)} deployments than the gateway{unknown}: "
        f"{listed(dict.fromkeys(slow))}. LiteLLM's retries and fallbacks then never begin.",
        f"Set `litellm_params: {{timeout, stream_timeout}}` of these deployments, with a timeout below {whole:g} s "
        f"(LLM_TIMEOUT_SECONDS) and a stream_timeout below {first:g} s (STREAM_FIRST_TOKEN_SECONDS).",
    )


def _is_bounded(one: Deployment, router: RouterValues | None, first: float, whole: float) -> bool:
    own, streams = seconds(one.params.timeout), seconds(one.params.stream_timeout)
    if router is not None:
        own = own if own is not None else seconds(router.timeout)
        streams = streams if streams is not None else seconds(router.stream_timeout)
    own = _DEFAULT_SECONDS if own is None else own
    return own < whole and (not one.streams or (own if streams is None else streams) < first)


async def _limits(installation: Installation) -> Finding:
    limited = [one.model_name for one in await _deployments(installation) if one.params.rpm or one.params.tpm]
    if not limited:
        return ok("No deployment has an rpm or tpm limit.")
    values, version = await _router(installation), await version_of(installation)
    by_check = version >= _BY_CHECK
    is_enforced = _CHECK in (values.optional_pre_call_checks or []) if by_check else values.enable_pre_call_checks
    if is_enforced:
        return ok(f"LiteLLM enforces the limits of {listed(limited)}.")
    setting = f'optional_pre_call_checks: ["{_CHECK}"]' if by_check else "enable_pre_call_checks: true"
    return warning(
        f"LiteLLM {'.'.join(map(str, version))} does not enforce the rpm and tpm of {listed(limited)}.",
        f"Set `router_settings: {{{setting}}}`.",
    )


async def _retries(installation: Installation) -> Finding:
    await no_embedded(installation)
    values, settings = await _router(installation), installation.settings
    retries = values.num_retries or 0
    each = max((seconds(one.params.timeout) or 0.0 for one in await _deployments(installation)), default=0.0)
    longest = (retries + 1) * (each or seconds(values.timeout) or _DEFAULT_SECONDS)
    if retries and longest > settings.llm_timeout_seconds:
        return warning(
            f"LiteLLM makes {retries} retries, which can take {longest:g} s with their timeouts. The gateway ends the "
            f"call after {settings.llm_timeout_seconds:g} s (LLM_TIMEOUT_SECONDS).",
            "Lower `litellm_settings: {num_retries}` or the deployments' timeouts, or raise LLM_TIMEOUT_SECONDS.",
        )
    return ok(f"LiteLLM makes {retries} retries.")


_KEY = ("litellm.key",)

CHECKS = (
    Check(name="litellm.prices", looks_at="no models, and models without a price", run=_prices, needs=_KEY),
    Check(
        name="litellm.timeouts",
        looks_at="deployments with longer timeouts than the gateway's",
        run=_timeouts,
        needs=_KEY,
    ),
    Check(
        name="litellm.limits",
        looks_at="`rpm` and `tpm` of deployments that LiteLLM does not enforce; needs an administrator's key",
        run=_limits,
        needs=_KEY,
    ),
    Check(
        name="litellm.retries",
        looks_at="`num_retries` that take longer than the gateway waits; needs an administrator's key",
        run=_retries,
        needs=_KEY,
    ),
)
"""The checks of LiteLLM's settings."""
