"""Published GraphQL clients, as installed from npm."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from typing import Any

import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from tests.support.documents import COMPLETION, STREAM
from tests.support.doors import events
from tests.support.node import run_node
from tests.support.stack import GRACE, Stack, any_stack, embedded_stack
from tests.support.streaming import completion, expected, text_of

OVER_HTTP = ("graphql-sse", "@urql/core", "@apollo/client")


@pytest.mark.needs_node
@pytest.mark.parametrize("script", ["graphql_sse.mjs", "apollo.mjs", "urql.mjs"])
async def test_clients_subscribe_over_http(stack: Stack, script: str) -> None:
    given = completion(stack, "tokens=30 delay=0.02")
    [seen] = await run_node(script, url=stack.url, token=stack.token(), input=given, key=str(uuid.uuid4()))
    assert seen == {"text": expected(30), "ends": 1, "outcome": "COMPLETED", "during": "RUNNING"}


def refused_cases(stack: Stack) -> list[dict[str, Any]]:
    """Return subscriptions that are refused for different reasons at different points."""
    token = stack.token()
    start = {"query": COMPLETION, "variables": {"i": completion(stack, "tokens=1 delay=0"), "k": "other"}}
    attach = {"query": STREAM, "variables": {"id": f"stream:{uuid.uuid4()}"}, "token": token}
    return [
        {"name": "UNAUTHENTICATED", **start},
        {"name": "UNAUTHENTICATED", **start, "token": stack.token(lifetime_seconds=-60)},
        {"name": "UNAUTHENTICATED", **start, "token": "nonsense"},
        {"name": "NOT_FOUND", **attach},
        {"name": "BAD_USER_INPUT", **attach, "variables": {}},
        {"name": "BAD_USER_INPUT", **attach, "variables": {"id": "a\0b"}},
        {"name": "GRAPHQL_VALIDATION_FAILED", "query": "subscription { nope { cursor } }", "token": token},
        {"name": "PAYLOAD_TOO_LARGE", **attach, "variables": {"id": "x" * 20_000}},
        {"name": "RATE_LIMITED", **start, "token": token},
    ]


@pytest.mark.needs_node
@pytest.mark.parametrize("client", OVER_HTTP)
async def test_a_refused_subscription_ends_at_once_and_its_code_can_be_read(client: str) -> None:
    async with any_stack(rate_limit_llm=1, max_body_bytes=10_000) as stack:
        begun = {"i": completion(stack, "tokens=1 delay=0"), "k": "one"}
        _ = [event async for event in events(stack, "event stream", COMPLETION, begun)]
        cases = refused_cases(stack)
        seen = await run_node("refused.mjs", url=stack.url, client=client, cases=cases, seconds=5)
    assert seen == [{"name": one["name"], "codes": [one["name"]], "requests": 1} for one in cases]


@pytest.mark.needs_node
@pytest.mark.parametrize("client", OVER_HTTP)
async def test_clients_get_the_error_of_an_overloaded_gateway(client: str) -> None:
    async with embedded_stack(max_concurrent_streams=1) as stack:
        held = {"i": completion(stack, "tokens=5000 delay=0.05"), "k": "one"}
        async with aclosing(events(stack, "event stream", COMPLETION, held)) as heard:
            await anext(heard)
            case = {"name": "full", "query": STREAM, "variables": {"id": "stream:x"}, "token": stack.token(GRACE)}
            [seen] = await run_node("refused.mjs", url=stack.url, client=client, cases=[case], seconds=5)
    assert seen == {"name": "full", "codes": ["OVERLOADED"], "requests": 1}


HASH = {"method": "POST", "query": False, "hash": True}
DOCUMENT = {"method": "POST", "query": True, "hash": False}


@pytest.mark.needs_node
@pytest.mark.parametrize("get", [False, True])
@pytest.mark.parametrize("client", ["apollo", "urql"])
async def test_clients_stop_sending_hashes_after_the_first(stack: Stack, client: str, get: bool) -> None:
    [seen] = await run_node("persisted.mjs", url=stack.url, token=stack.token(), client=client, get=get)
    assert seen["emails"] == ["ada@example.com", None, "ada@example.com"]
    hashed = HASH | {"method": "GET" if get else "POST"}
    assert [{**one, "method": "POST"} for one in seen["sent"][1:]] == [DOCUMENT] * 3
    assert seen["sent"][0] == hashed


async def test_python_gql_subscribes_over_websocket(stack: Stack) -> None:
    transport = WebsocketsTransport(
        url=stack.url.replace("http", "ws") + "/graphql",
        init_payload={"authorization": f"Bearer {stack.token()}"},
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    variables = {"i": completion(stack, "tokens=5 delay=0.01"), "k": str(uuid.uuid4())}
    async with Client(transport=transport) as session:
        request = GraphQLRequest(COMPLETION, variable_values=variables)
        heard = [answer["completion"] async for answer in session.subscribe(request)]
        assert text_of(heard) == expected(5)
        assert heard[-1]["outcome"] == "COMPLETED"
        with pytest.raises(TransportQueryError) as refused:
            _ = [one async for one in session.subscribe(GraphQLRequest(STREAM, variable_values={"id": "stream:nope"}))]
    assert refused.value.errors
    assert refused.value.errors[0]["extensions"]["code"] == "NOT_FOUND"


@pytest.mark.needs_node
async def test_the_openai_sdk_for_node_works(stack: Stack) -> None:
    messages = [{"role": "user", "content": "hi [[tokens=20 delay=0.02]]"}]
    body = {"model": stack.chat_model, "messages": messages}
    [seen] = await run_node("openai.mjs", url=stack.url, token=stack.token(), body=body)
    assert stack.chat_model in seen.pop("models")
    assert seen == {
        "whole": expected(20),
        "text": expected(20),
        "during": "RUNNING",
        "badKey": {"name": "AuthenticationError", "code": "invalid_api_key"},
        "badModel": {"name": "NotFoundError", "code": "model_not_found"},
    }
