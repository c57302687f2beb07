"""``agentgraph doctor`` against Letta and LiteLLM, embedded or real."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.doctored import Diagnosis, diagnose
from tests.support.upstreams import Upstreams


async def diagnosed(up: Upstreams, monkeypatch: pytest.MonkeyPatch, folder: Path, **given: str) -> Diagnosis:
    """Run the doctor for the services, with a virtual key of a user."""
    monkeypatch.chdir(folder)
    key = (await up.key())["authorization"].removeprefix("Bearer ")
    if up.platform is None:
        own = {name: os.environ[name] for name in ("LETTA_BASE_URL", "LETTA_API_KEY") if os.environ.get(name)}
        own |= {"LITELLM_BASE_URL": os.environ["LITELLM_BASE_URL"]}
    else:
        own = {f"{name.upper()}_BASE_URL": up.platform.urls[name] for name in ("letta", "litellm")}
        own |= {"LETTA_API_KEY": up.platform.options.letta_key}

    def environment(variables: Mapping[str, str | None]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value or "")

    settings = {"LITELLM_API_KEY": key, "LITELLM_MASTER_KEY": up.master, "PORT": "0", **own, **given}
    return await diagnose(environment, "--timeout", "20", **settings)


async def test_the_services_have_no_problem(up: Upstreams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = await diagnosed(up, monkeypatch, tmp_path)
    assert found.status == 0, found.printed
    checked = [
        "litellm.server",
        "litellm.database",
        "litellm.password",
        "litellm.key",
        "litellm.routes",
        "litellm.user",
    ]
    if up.real:
        checked += ["litellm.retries"]
    if not up.real or os.environ.get("LETTA_BASE_URL"):
        checked += ["letta.server", "letta.version", "letta.key", "letta.password", "letta.models"]
    if up.real and os.environ.get("LETTA_BASE_URL"):
        checked += ["letta.redis"]
    assert {check: [one["status"] for one in found.at(check)] for check in checked} == {
        check: ["ok"] for check in checked
    }


async def test_a_deployment_s_limits_are_enforced_by_the_setting_of_its_version(
    up: Upstreams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real LiteLLM has ``enable_pre_call_checks`` and a deployment with a limit."""
    found = await diagnosed(up, monkeypatch, tmp_path)
    [finding] = found.at("litellm.limits")
    assert finding["status"] == ("skipped" if not up.real else "ok" if up.version < (1, 107) else "warning")


@pytest.mark.parametrize("key", ["LITELLM_API_KEY", "LETTA_API_KEY"])
async def test_a_wrong_key_is_found(up: Upstreams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str) -> None:
    if key == "LETTA_API_KEY" and up.real and not os.environ.get("LETTA_BASE_URL"):
        return
    found = await diagnosed(up, monkeypatch, tmp_path, **{key: "sk-wr0ng"})
    check = f"{key.partition('_')[0].lower()}.key"
    assert (found.status, [one["status"] for one in found.at(check)]) == (1, ["problem"])
