"""The model calls of agents through the gateway's proxy, in the embedded AMS and Letta."""

from __future__ import annotations

from pathlib import Path

import httpx

from app.embedded import http_client
from app.embedded.ams.proxied import ProxyTarget, provider_name
from app.embedded.letta.shapes import ENDPOINT
from app.embedded.people import ADA
from app.embedded.store import open_store
from tests.support.embedded import Embedded, embedded
from tests.support.stack import Stack, embedded_stack

LETTA_KEY = "letta-" + "k" * 32
GATEWAY = ProxyTarget(url="http://127.0.0.1:9", master_key="m" * 32)


def letta(stack: Stack) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {stack.platform.options.letta_key}"}
    return http_client.client(base_url=stack.servers["letta"].url, headers=headers, timeout=20)


async def test_without_a_gateway_agents_have_plain_models(services: Embedded) -> None:
    made = (await services.ams.post("/agents/create", json={"template_id": "researcher"})).json()["agent"]
    assert made["llm_config"]["model_endpoint"] == ENDPOINT
    assert (await services.letta.get("/v1/providers/")).json() == []


async def test_an_agent_has_the_proxy_and_letta_stores_its_secret() -> None:
    async with embedded(gateway=GATEWAY) as services:
        made = (await services.ams.post("/agents/create", json={"template_id": "researcher"})).json()["agent"]
        model, handle = made["llm_config"], made["model"]
        assert (model["model_endpoint"], model["model_endpoint_type"]) == (GATEWAY.proxy(ADA), "openai")
        assert (model["provider_name"], model["provider_category"]) == (provider_name(ADA), "byok")
        assert handle == f"openai-proxy/{model['model']}"
        assert made["embedding_config"]["embedding_endpoint"] == ENDPOINT  # the proxy refuses Letta's own key
        await services.ams.post("/agents/create", json={"template_id": "researcher"})
        [provider] = (await services.letta.get("/v1/providers/", params={"name": provider_name(ADA)})).json()
        assert (provider["api_key_enc"], provider["api_key"]) == (GATEWAY.secret(ADA), None)
        said = await services.letta.post(
            f"/v1/agents/{made['id']}/messages", json={"messages": [{"role": "user", "content": "hi"}]}
        )
        assert (said.status_code, said.json()["error"]["type"]) == (
            500,
            "llm_error",
        )  # no server listens at the proxy's URL


async def test_a_new_master_key_updates_the_stored_provider(tmp_path: Path) -> None:
    path, other = tmp_path / "kept.sqlite3", ProxyTarget(url=GATEWAY.url, master_key="n" * 32)
    for gateway in (GATEWAY, other):
        async with embedded(open_store(path), gateway=gateway) as services:
            await services.ams.post("/agents/create", json={"template_id": "researcher"})
            [provider] = (await services.letta.get("/v1/providers/")).json()
            assert provider["api_key_enc"] == gateway.secret(ADA)


async def test_an_upgrade_to_another_model_keeps_the_proxy() -> None:
    async with embedded(gateway=GATEWAY) as services:
        created = {"template_id": "researcher", "version": "1.0.0"}
        made = (await services.ams.post("/agents/create", json=created)).json()["agent"]
        asked = {"target_version": "2.0.1", "dry_run": False}
        answer = await services.ams.post(f"/agents/{made['id']}/upgrade", json=asked)
        assert answer.status_code == 200, answer.text
        after = (await services.letta.get(f"/v1/agents/{made['id']}")).json()
        assert after["llm_config"]["model_endpoint"] == GATEWAY.proxy(ADA)
        assert after["llm_config"]["provider_name"] == provider_name(ADA)


async def test_a_provider_is_added_once_updated_and_deleted(services: Embedded) -> None:
    asked = {"name": "mine", "provider_type": "openai", "api_key": "k"}
    made = (await services.letta.post("/v1/providers/", json=asked)).json()
    assert (await services.letta.post("/v1/providers/", json=asked)).status_code == 409
    assert (await services.letta.post("/v1/providers/", json={"name": "x"})).status_code == 422
    path = f"/v1/providers/{made['id']}"
    assert (await services.letta.patch(path, json={"api_key": "new"})).json()["api_key_enc"] == "new"
    assert (await services.letta.delete(path)).status_code == 200
    assert (await services.letta.delete(path)).status_code == 404


async def test_a_passage_is_not_stored_if_the_proxy_refuses_lettas_key() -> None:
    other = "letta-" + "x" * 32
    async with (
        embedded_stack(letta_proxy_key=LETTA_KEY) as stack,
        stack.circle(letta_key=other),
        letta(stack) as client,
    ):
        before = await stack.spent()
        path = f"/v1/agents/{await stack.make_agent()}/archival-memory"
        assert (await client.post(path, json={"text": "The van comes on Tuesdays."})).status_code == 500
        assert (await client.get(path)).json() == []
        assert await stack.spent() == before
