from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from app.embedded.litellm.keys import make_key
from app.embedded.people import ADA, GRACE
from app.rest.secrets import agent_secret
from app.rest.table import TABLE
from clients.origin import Origin
from tests.support.openai import EMBEDDING, asking, sdk_client
from tests.support.stack import Stack, any_stack
from tests.support.usage import rises

REAL = os.environ.get("AGENTGRAPH_TEST_REAL") == "1"
LETTA_KEY = "letta-" + "k" * 32


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_client(stack.proxy(), stack.agent_secret(), max_retries=0) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def post(stack: Stack, path: str, secret: str, body: dict[str, Any], user: str = ADA) -> httpx.Response:
    return await stack.client.post(f"{stack.proxy(user)}{path}", json=body, headers=bearer(secret))


async def test_an_openai_sdk_works_with_the_secret_of_agents(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    whole = await sdk.chat.completions.create(**asking(stack, "tokens=3 delay=0"))
    assert whole.choices[0].message.content == "tok0 tok1 tok2"
    stream = await sdk.chat.completions.create(
        **asking(stack, "tokens=3 delay=0"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "tok0 tok1 tok2"
    assert [c.usage.completion_tokens for c in chunks if c.usage is not None] == [3]
    for given in ("hi", ["hi", "there"]):
        made = await sdk.embeddings.create(model="text-embedding-3-small", input=given)
        assert [len(one.embedding) for one in made.data] == [1536] * (1 if isinstance(given, str) else 2)
    assert [model.id async for model in await sdk.models.list()] == []


async def test_an_openai_sdk_gets_embeddings_with_the_users_token(stack: Stack) -> None:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as sdk:
        made = await sdk.embeddings.create(model="text-embedding-3-small", input="hi", encoding_format="float")
        assert len(made.data[0].embedding) == 1536
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.embeddings.create(model="nope", input="hi")
        assert caught.value.code == "model_not_found"


async def test_the_address_without_a_path_serves_the_body_it_gets(stack: Stack) -> None:
    secret = stack.agent_secret()
    chat = await post(stack, "", secret, asking(stack, "tokens=2 delay=0"))
    assert chat.json()["choices"][0]["message"]["content"] == "tok0 tok1"
    streamed = await post(stack, "", secret, asking(stack, "tokens=2 delay=0", stream=True))
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert "x-stream-id" not in streamed.headers  # users cannot attach to streams of their agents
    assert len((await post(stack, "", secret, EMBEDDING)).json()["data"]) == 1
    neither = await post(stack, "", secret, {"model": stack.chat_model, "prompt": "hi"})
    assert neither.status_code == 400
    assert "messages" in neither.json()["error"]["message"]
    assert "input" in neither.json()["error"]["message"]


async def test_the_users_own_key_pays(stack: Stack) -> None:
    await stack.own_key()
    before = await stack.spent()
    for path, body in (("/chat/completions", asking(stack, "tokens=50 delay=0")), ("", EMBEDDING)):
        assert (await post(stack, path, stack.agent_secret(), body)).status_code == 200
    await rises(stack.spent, before)


async def test_the_platforms_key_pays_for_a_user_without_a_key() -> None:
    key = os.environ["LITELLM_API_KEY"] if REAL else "sk-platform"
    async with any_stack(litellm_api_key=key) as stack:
        make_key(stack.platform.state, key, "platform")
        stack.platform.state.users[ADA].litellm_key = None
        for stream in (False, True):
            before = await stack.charged()
            body = asking(stack, "tokens=1 delay=0", stream=stream)
            answer = await post(stack, "/chat/completions", stack.agent_secret(), body)
            assert answer.status_code == 200
            await rises(stack.charged, before)


def strangers(stack: Stack) -> list[tuple[str, str]]:
    """Return users, each with a secret that is not valid for them."""
    mine, nobody = stack.agent_secret(), str(uuid.uuid4())
    return [
        (ADA, stack.agent_secret(GRACE)),
        (ADA, mine[:-1] + ("0" if mine[-1] != "0" else "1")),
        (ADA, mine + "0"),
        (ADA, mine.upper()),
        (ADA, f"ag-{ADA}-"),
        (ADA, f"ag-{ADA}-{'0' * 64}"),
        (ADA, stack.token()),
        (ADA, "sk-" + "x" * 40),
        (ADA, "sk-rig-master-1234"),
        (ADA, LETTA_KEY),  # off unless it is set
        (nobody, stack.agent_secret(nobody)),
        (ADA.upper(), stack.agent_secret(ADA.upper())),
        (ADA.upper(), mine),
        ("ada", stack.agent_secret("ada")),
        ("agent-" + nobody, stack.agent_secret("agent-" + nobody)),
        ("%2e%2e", mine),
        ("x" * 5000, mine),
        ("ü", mine),
    ]


async def test_all_wrong_secrets_get_the_same_error(stack: Stack) -> None:
    for path, body in (("/chat/completions", asking(stack, "tokens=1")), ("/embeddings", EMBEDDING), ("", EMBEDDING)):
        answers = [await post(stack, path, secret, body, user) for user, secret in strangers(stack)]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.content for answer in answers}) == 1
    error = answers[0].json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert stack.calls("litellm") == []
    assert set(stack.calls("ams")) <= {"GET /me"}
    with pytest.raises(openai.AuthenticationError):
        async with sdk_client(stack.proxy(), "sk-any") as sdk:
            await sdk.chat.completions.create(**asking(stack, "tokens=1"))


async def test_keys_of_openai_and_litellm_are_refused(stack: Stack) -> None:
    users = stack.platform.state.users.values()
    keys = ["sk-", "sk-1234", "sk-proj-" + "a" * 48, *(user.litellm_key for user in users if user.litellm_key)]
    for key in keys:
        assert (await post(stack, "/chat/completions", key, asking(stack, "tokens=1"))).status_code == 401


async def test_a_request_without_a_bearer_secret_is_refused(stack: Stack) -> None:
    for given in (None, stack.agent_secret(), "Bearer", f"Basic {stack.agent_secret()}"):
        headers = {} if given is None else {"authorization": given}
        answer = await stack.client.post(f"{stack.proxy()}/embeddings", json=EMBEDDING, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_secret_is_valid_only_for_the_proxy() -> None:
    async with any_stack(letta_proxy_key=LETTA_KEY) as stack:
        for secret in (stack.agent_secret(), LETTA_KEY):
            headers = bearer(secret)
            asked = await stack.client.post("/graphql", json={"query": "{ viewer { id } }"}, headers=headers)
            assert asked.status_code == 401
            assert (await stack.client.get("/v1/models", headers=headers)).status_code == 401
            for path, body in (("/v1/chat/completions", asking(stack, "tokens=1")), ("/v1/embeddings", EMBEDDING)):
                assert (await stack.client.post(path, json=body, headers=headers)).status_code == 401


PROXIED = [("GET", "/models", None), ("POST", "", EMBEDDING), ("POST", "/embeddings", EMBEDDING)]


async def test_secrets_of_both_master_keys_are_valid_during_a_rotation_and_only_for_their_user() -> None:
    new, previous, older = "n" * 48, "p" * 48, "o" * 48
    keys = {"agent_secret_master_key": new, "agent_secret_master_key_previous": previous}

    async def statuses(stack: Stack, secret: str) -> set[int]:
        chat = ("POST", "/chat/completions", asking(stack, "tokens=1 delay=0"))
        asked = [
            await stack.client.request(method, f"{stack.proxy()}{path}", json=body, headers=bearer(secret))
            for method, path, body in (*PROXIED, chat)
        ]
        return {answer.status_code for answer in asked}

    async with any_stack(**keys) as stack:
        for key, status in ((new, 200), (previous, 200), (older, 401)):
            assert await statuses(stack, agent_secret(key, ADA)) == {status}
            assert await statuses(stack, agent_secret(key, GRACE)) == {401}
    async with any_stack(agent_secret_master_key=new) as stack:
        assert await statuses(stack, agent_secret(new, ADA)) == {200}
        assert await statuses(stack, agent_secret(previous, ADA)) == {401}


async def test_lettas_own_key_is_valid_for_every_user_of_ams() -> None:
    async with any_stack(letta_proxy_key=LETTA_KEY) as stack:
        for user in (ADA, GRACE):
            assert (await post(stack, "/embeddings", LETTA_KEY, EMBEDDING, user)).status_code == 200
        chat = await post(stack, "/chat/completions", LETTA_KEY, asking(stack, "tokens=1 delay=0"))
        assert chat.status_code == 200
        refused = [
            await post(stack, "/embeddings", LETTA_KEY, EMBEDDING, str(uuid.uuid4())),
            await post(stack, "/embeddings", LETTA_KEY, EMBEDDING, "ada"),
            await post(stack, "/embeddings", LETTA_KEY[:-1], EMBEDDING),
            await post(stack, "/embeddings", "sk-" + "x" * 40, EMBEDDING),
        ]
        assert {answer.status_code for answer in refused} == {401}
        assert len({answer.content for answer in refused}) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", "{"),
        ("/chat/completions", "[1]"),
        ("/chat/completions", '{"model": "x", "input": "hi"}'),
        ("/chat/completions", '{"model": "x", "messages": [], "stream": "yes"}'),
        ("/embeddings", '{"model": "x"}'),
        ("/embeddings", '{"input": "hi"}'),
        ("/embeddings", '{"model": "x", "input": {"text": "hi"}}'),
        ("", "{}"),
        ("", "null"),
    ],
)
async def test_invalid_bodies_are_refused(stack: Stack, path: str, body: str) -> None:
    answer = await stack.client.post(f"{stack.proxy()}{path}", content=body, headers=bearer(stack.agent_secret()))
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_past_the_limit_is_refused(stack: Stack) -> None:
    body = {**EMBEDDING, "input": "x" * 1_000_001}
    assert (await post(stack, "/embeddings", stack.agent_secret(), body)).status_code == 413


async def test_unknown_addresses_are_404_and_methods_405(stack: Stack) -> None:
    headers = bearer(stack.agent_secret())
    for path in ("", "/chat/completions", "/embeddings"):
        wrong = await stack.client.get(f"{stack.proxy()}{path}", headers=headers)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    wrong = await stack.client.post(f"{stack.proxy()}/models", headers=headers, json={})
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
    wrong = await stack.client.get("/v1/embeddings", headers=stack.headers())
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    for path in ("/", "/key/generate", "/chat/completions/", "/../../key/generate", "/v1/chat/completions"):
        assert (await post(stack, path, stack.agent_secret(), {})).status_code == 404, path
    unknown = await stack.client.post(f"{stack.url}/api/v1/agents/{ADA}", json={}, headers=headers)
    assert unknown.status_code == 404


async def test_refusals_of_litellm_keep_their_meaning(stack: Stack) -> None:
    for path, body in (("/embeddings", EMBEDDING), ("/chat/completions", asking(stack, "tokens=1"))):
        answer = await post(stack, path, stack.agent_secret(), {**body, "model": "nope"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    for stream in (False, True):
        answer = await post(stack, "", stack.agent_secret(), asking(stack, "error=429", stream=stream))
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_key_that_litellm_refuses_is_not_retried(stack: Stack) -> None:
    stack.platform.state.users[ADA].litellm_key = "sk-of-nobody"
    for path, body in (("/embeddings", EMBEDDING), ("/chat/completions", asking(stack, "tokens=1"))):
        answer = await post(stack, path, stack.agent_secret(), body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "credential")
        assert answer.headers["x-should-retry"] == "false"
        assert "sk-of-nobody" not in answer.text


async def test_completions_of_agents_are_not_in_the_users_streams(stack: Stack) -> None:
    body = asking(stack, "tokens=400 delay=0.05", stream=True)
    async with stack.client.stream(
        "POST", f"{stack.proxy()}/chat/completions", json=body, headers=bearer(stack.agent_secret())
    ) as answer:
        await anext(answer.aiter_raw())
        assert (await stack.graphql("{ viewer { streams { id } } }"))["data"]["viewer"]["streams"] == []


async def test_metrics_and_log_name_no_user_and_no_secret(stack: Stack) -> None:
    for secret in (stack.agent_secret(), "sk-" + "x" * 40):
        for path in ("", "/chat/completions", "/embeddings", "/nothing"):
            await post(stack, path, secret, asking(stack, "tokens=1 delay=0", **EMBEDDING))
    metrics, log = (await stack.client.get("/metrics")).text, stack.log.getvalue()
    for path in ("", "/chat/completions", "/embeddings"):
        assert f'route="/api/v1/agents/{{user_id}}/proxy{path}"' in metrics
        assert f'"route":"/api/v1/agents/{{user_id}}/proxy{path}"' in log
    for text in (metrics, log):
        assert ADA not in text
        assert stack.agent_secret().rsplit("-", 1)[1] not in text
        assert "sk-x" not in text


async def test_each_row_of_the_table_is_in_the_rest_docs(stack: Stack) -> None:
    paths = (await stack.client.get("/openapi.json")).json()["paths"]
    for row in TABLE:
        described = paths[row.path][row.method.lower()]
        assert described["security"] == [{"token" if row.origin is Origin.USER else "agentSecret": []}]
        assert described["summary"]
