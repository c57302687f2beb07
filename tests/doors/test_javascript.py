from __future__ import annotations

import uuid

import pytest

from tests.support.browser import run_in_browser
from tests.support.node import run_node
from tests.support.stack import Stack


@pytest.mark.needs_node
@pytest.mark.parametrize("kind", ["message", "completion"])
async def test_graphql_ws_resumes_after_a_disconnect(stack: Stack, kind: str) -> None:
    words = "hi [[tokens=30 delay=0.02]]"
    if kind == "message":
        given = {"to": {"agentId": await stack.make_agent()}, "content": [{"text": words}]}
    else:
        messages = [{"role": "USER", "content": words}]
        given = {"model": stack.chat_model, "messages": messages, "onDisconnect": "CONTINUE"}
    before = (await stack.model_stats())["total"]
    [seen] = await run_node(
        "graphql_ws.mjs", url=stack.url, token=stack.token(), kind=kind, input=given, key=str(uuid.uuid4())
    )
    whole = " ".join(f"tok{n}" for n in range(30))
    assert 0 < seen.pop("partial") < len(whole)
    assert seen == {"text": whole, "ends": 1, "replayed": True, "again": whole}
    assert (await stack.model_stats())["total"] == before + 1


@pytest.mark.needs_node
async def test_the_graphql_over_http_audit_finds_nothing(stack: Stack) -> None:
    results = await run_node("audit.mjs", url=stack.url, token=stack.token())
    assert len(results) > 50
    assert [result for result in results if result["status"] != "ok"] == []


@pytest.mark.needs_node
@pytest.mark.needs_chromium
async def test_a_page_on_port_5173_can_read_a_refusal(stack: Stack) -> None:
    tokens = ["", "nonsense", stack.token()]
    refused, bad, good = await run_in_browser("cors.mjs", url=stack.url, tokens=tokens)
    for answer in (refused, bad):
        assert answer["status"] == 401
        assert answer["body"]["errors"][0]["extensions"]["requestId"] == answer["id"]
    assert good["body"] == {"data": {"viewer": {"email": "ada@example.com"}}}
