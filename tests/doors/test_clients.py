"""Clients as people install them."""

from __future__ import annotations

import uuid

import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from tests.doors.test_streams import COMPLETION, STREAM, completion, expected, text_of
from tests.support.node import run_node
from tests.support.stack import Stack

REFUSALS = {
    "graphql_sse.mjs": {"status": 404, "code": "NOT_FOUND"},
    "apollo.mjs": {"known": True, "code": "NOT_FOUND"},
    "urql.mjs": {"status": 404},
}


@pytest.mark.needs_node
@pytest.mark.parametrize("script", REFUSALS)
async def test_subscriptions_over_http(stack: Stack, script: str) -> None:
    given = completion(stack, "tokens=30 delay=0.02")
    [seen] = await run_node(script, url=stack.url, token=stack.token(), input=given, key=str(uuid.uuid4()))
    assert seen == {
        "text": expected(30),
        "ends": 1,
        "outcome": "COMPLETED",
        "during": "RUNNING",
        "refusal": REFUSALS[script],
    }


async def test_python_gql_over_websocket(stack: Stack) -> None:
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
async def test_the_openai_node_sdk(stack: Stack) -> None:
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
