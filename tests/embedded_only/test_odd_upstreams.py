"""Answers of other servers, proxies and broken connections in place of a service."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from tests.support.doors import event_stream
from tests.support.oddserver import Scripted, odd_server
from tests.support.stack import ADA, Stack, embedded_stack

JSON, HTML, SSE = "application/json", "text/html", "text/event-stream"
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
Answer = Callable[[str, str, bytes], Scripted]
AGENT = "agent-00000000-0000-4000-8000-00000000000a"


def said(body: bytes, media_type: str = JSON, status: int = 200, **headers: str) -> Scripted:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Scripted(status=status, headers={"content-type": media_type, **named}, pieces=[body] if body else [])


@asynccontextmanager
async def behind(service: str, answer: Answer, **settings: Any) -> AsyncIterator[Stack]:
    """Run a gateway in which ``answer`` scripts the answers of one service."""
    async with odd_server(answer) as url:
        keys = {"litellm": {"litellm_api_key": "sk-" + "0" * 20}, "ams": {"supabase_service_key": "k"}, "letta": {}}
        async with embedded_stack(**{f"{service}_base_url": url}, **keys[service], **settings) as stack:
            yield stack
            assert "Traceback" not in stack.log.getvalue()


async def at_v1(stack: Stack, path: str, *, stream: bool = False) -> httpx.Response:
    headers = stack.headers()
    if path.startswith("models"):
        return await stack.client.get(f"/v1/{path}", headers=headers)
    given: dict[str, Any] = {"input": "x"} if path == "embeddings" else {"messages": [{"role": "user", "content": "x"}]}
    body = {"model": "m", **given, **({"stream": True} if stream else {})}
    return await stack.client.post(f"/v1/{path}", json=body, headers=headers)


PATHS = ["chat/completions", "embeddings", "models", "models/m"]
ODD_WHOLES = [
    (b"<html>Sign in</html>", HTML),
    (b"<html>Sign in</html>", JSON),
    (b"", JSON),
    (b"not json", JSON),
    (b"[]", JSON),
    (b"null", JSON),
    (b"{}", JSON),
    (b'{"choices":5,"data":5}', JSON),
    (b'{"choices":null,"data":null}', JSON),
    (b'{"choices":["x"],"data":["x"]}', JSON),
    (CHUNK + b"data: [DONE]\n\n", SSE),
    (b'{"choices":[],"data":[],"note":"\xff"}', JSON),
    (b"[" * 100_000, JSON),
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_whole_answer_is_checked_before_it_is_relayed(path: str) -> None:
    answers: list[Scripted] = []
    async with behind("litellm", lambda *_: answers[-1], breaker_reset_seconds=60) as stack:
        for body, media_type in ODD_WHOLES:
            answers.append(said(body, media_type))
            answer = await at_v1(stack, path)
            assert answer.headers["content-type"] == JSON
            seen = (answer.status_code, answer.json()["error"]["code"])
            assert seen in {(502, "decode"), (503, "model"), (503, "breaker_open")}, body[:40]
            assert seen == (502, "decode") or len(answers) > 5
        assert (await at_v1(stack, path)).status_code == 503


@pytest.mark.parametrize("data", [b'[{"id":5}]', b"[{}]", b"[5]"])
async def test_a_list_of_models_without_ids_is_unreadable(data: bytes) -> None:
    async with behind("litellm", lambda *_: said(b'{"data":' + data + b"}")) as stack:
        for path in ("models", "models/m"):
            answer = await at_v1(stack, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "decode")


async def test_a_model_is_passed_on_as_litellm_wrote_it() -> None:
    listed = b'{"object":"list","data":[{"id":"n"},{"id":"m", "created":1.50,"new":{"a":null}}]}'
    async with behind("litellm", lambda *_: said(listed)) as stack:
        assert (await at_v1(stack, "models/m")).content == b'{"id":"m", "created":1.50,"new":{"a":null}}'
        assert (await at_v1(stack, "models")).content.startswith(listed.removesuffix(b"]}"))  # agents follow
        assert (await at_v1(stack, "models/other")).status_code == 404


@pytest.mark.parametrize(
    ("body", "media_type"),
    [(b"<html>", HTML), (b"{}", JSON), (b"data at 9: x", "text/plain"), (b"", JSON), (b"", HTML)],
)
async def test_an_answer_that_is_no_stream_is_not_relayed(body: bytes, media_type: str) -> None:
    async with behind("litellm", lambda *_: said(body, media_type)) as stack:
        answer = await at_v1(stack, "chat/completions", stream=True)
        assert (answer.status_code, answer.headers["content-type"]) == (502, JSON)
        assert answer.json()["error"]["code"] == "decode"


END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    "media_type", ["text/plain", JSON, "TEXT/EVENT-STREAM; charset=UTF-8", "text/event-stream, x/y"]
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b": ping\n\n", b"event: message\n", b"\r\n\r\n"])
async def test_a_stream_with_another_media_type_is_relayed(media_type: str, before: bytes) -> None:
    answer = Scripted(headers={"content-type": media_type}, pieces=[before, CHUNK, 0.01, END])
    async with behind("litellm", lambda *_: answer) as stack:
        seen = await at_v1(stack, "chat/completions", stream=True)
        assert (seen.status_code, seen.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert seen.content.endswith(CHUNK + END)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ended", ["close", "reset"])
async def test_a_refusal_with_a_cut_body_keeps_its_status(stream: bool, ended: str) -> None:
    head = b"HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 500\r\n\r\n"
    cut = Scripted(raw=head + b'{"error":{"mess', close=ended == "close", reset=ended == "reset")
    async with behind("litellm", lambda *_: cut) as stack:
        answer = await at_v1(stack, "chat/completions", stream=stream)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_invalid_retry_after_is_omitted(stream: bool) -> None:
    odd = {"Retry_After": "0000 Oct -- 1.2.3 +99999999999999 :"}
    async with behind("litellm", lambda *_: said(b"{}", JSON, 429, **odd)) as stack:
        answer = await at_v1(stack, "chat/completions", stream=stream)
        assert (answer.status_code, answer.headers.get("retry-after")) == (429, None)


async def test_a_lone_surrogate_in_a_whole_answer_is_passed_on() -> None:
    usage = b'"usage":{"prompt_tokens":1,"completion_tokens":2}'
    body = b'{"choices":[{"index":0,"message":{"content":"\\ud83d\\ude00 \\ud83d"}}],' + usage + b"}"
    async with behind("litellm", lambda *_: said(body)) as stack:
        answer = await at_v1(stack, "chat/completions")
        assert (answer.status_code, answer.content) == (200, body)
        metrics = (await stack.client.get("/metrics")).text
        assert 'agentgraph_tokens_total{direction="out",kind="completion"} 2.0' in metrics


async def test_an_event_named_error_is_an_error() -> None:
    async with behind("litellm", lambda *_: said(CHUNK + b"event: error\ndata: boom\n\n", SSE)) as stack:
        answer = await at_v1(stack, "chat/completions", stream=True)
        assert b"boom" not in answer.content
        assert orjson.loads(answer.content.removeprefix(CHUNK)[6:])["error"]["code"] == "model"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("code", "status"), [("429", 429), ("500", 502), (None, 502), ("odd", 502)])
async def test_an_error_with_status_200_is_an_error(stream: bool, code: str | None, status: int) -> None:
    body = orjson.dumps({"error": {"message": "secret words", "type": "x", "code": code}})
    async with behind("litellm", lambda *_: said(body)) as stack:
        answer = await at_v1(stack, "chat/completions", stream=stream)
        assert answer.status_code == status
        assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["chat/completions", "embeddings"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}}, 429),
        ({"error": {"status": "RESOURCE_EXHAUSTED", "message": None}}, 429),
        ([{"error": {"code": 429, "message": "x"}}], 429),
        ({"object": "error", "message": "x", "code": 429}, 429),
        ({"error": "x"}, 502),
        ({"choices": [], "data": [], "error": {"code": 429, "message": "x"}}, 429),
    ],
)
async def test_errors_of_all_providers_with_status_200_are_errors(path: str, body: Any, status: int) -> None:
    async with behind("litellm", lambda *_: said(orjson.dumps(body))) as stack:
        assert (await at_v1(stack, path)).status_code == status


async def test_an_answer_with_a_byte_order_mark_is_read() -> None:
    body = b'{"choices":[{"index":0,"message":{"content":"hi"}}],"error":null}'
    async with behind("litellm", lambda *_: said(b"\xef\xbb\xbf" + body)) as stack:
        assert (await at_v1(stack, "chat/completions")).content == body


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_a_failure_at_every_endpoint_and_in_health(status: int) -> None:
    moved = said(b"<html>Moved</html>", HTML, status, Location="https://llm.example/")
    async with behind("litellm", lambda *_: moved) as stack:
        answers = [await at_v1(stack, path) for path in PATHS]
        answers.append(await at_v1(stack, "chat/completions", stream=True))
        for answer in answers:
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "status")
            assert "LITELLM_BASE_URL" in answer.json()["error"]["message"]
            assert answer.headers["x-should-retry"] == "false"
        seen = (await stack.client.get("/health")).json()
        assert (seen["status"], seen["services"]["litellm"]["status"]) == ("degraded", "down")
        assert f"the redirect status {status}. Check LITELLM_BASE_URL" in seen["services"]["litellm"]["note"]


@pytest.mark.parametrize("service", ["ams", "letta", "litellm"])
@pytest.mark.parametrize(
    "answer", [said(b"<html>", HTML), said(b"", JSON), said(b"no", JSON, 302), said(b"", JSON, 404)]
)
async def test_a_health_check_with_an_unexpected_answer_is_down(service: str, answer: Scripted) -> None:
    async with behind(service, lambda *_: answer) as stack:
        seen = (await stack.client.get("/health")).json()["services"][service]
        assert seen["status"] == "down"
        assert f"{service.upper()}_BASE_URL" in seen["note"]


WHOLE = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"}}]}'


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return machine.compress(data) + machine.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("Deflate", raw_deflate)],
)
async def test_a_compressed_answer_is_decoded(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    def answer(_: str, __: str, body: bytes) -> Scripted:
        if b'"stream":true' in body:
            return said(pack(CHUNK + b"data: [DONE]\n\n"), SSE, content_encoding=encoding)
        return said(pack(WHOLE), content_encoding=encoding)

    async with behind("litellm", answer) as stack:
        whole = await at_v1(stack, "chat/completions")
        assert (whole.content, "content-encoding" in whole.headers) == (WHOLE, False)
        streamed = await at_v1(stack, "chat/completions", stream=True)
        assert '"content":"hi"' in streamed.text
        assert streamed.text.endswith("data: [DONE]\n\n")


PACKED = gzip.compress(WHOLE)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("br", WHOLE), ("zstd", WHOLE), ("gzip", WHOLE), ("gzip", PACKED[:-9]), ("gzip, br", PACKED)],
    ids=["br", "zstd", "none", "truncated", "two"],
)
async def test_an_undecodable_encoding_is_an_error(encoding: str, body: bytes) -> None:
    async with behind("litellm", lambda *_: said(body, content_encoding=encoding)) as stack:
        answer = await at_v1(stack, "chat/completions")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "decode")


async def test_a_header_that_is_not_ascii_is_passed_on() -> None:
    name = "模型".encode().decode("latin-1")
    async with behind("litellm", lambda *_: said(WHOLE, x_litellm_model_id=name)) as stack:
        answer = await at_v1(stack, "chat/completions")
        assert answer.status_code == 200
        assert dict(answer.headers.raw)[b"x-litellm-model-id"] == "模型".encode()


LIST = "{ viewer { agents { nodes { id } } } }"


async def error_of(stack: Stack, query: str = LIST) -> dict[str, Any]:
    """Return the extensions of the first error; empty if there is none."""
    errors = (await stack.graphql(query)).get("errors", [{"extensions": {}}])
    extensions: dict[str, Any] = errors[0]["extensions"]
    return extensions


async def test_invalid_utf_8_from_ams_is_unreadable() -> None:
    async with behind("ams", lambda *_: said(b'{"id":"u","profile_exists":true,"name":"\xff","agents":[]}')) as stack:
        found = await error_of(stack)
        assert (found["code"], found["reason"], found["service"]) == ("UPSTREAM_ERROR", "DECODE", "ams")


async def test_invalid_utf_8_from_letta_is_unreadable() -> None:
    def answer(_: str, path: str, __: bytes) -> Scripted:
        if path.startswith("/v1/conversations/") and "messages" in path:
            return said(b'data: {"message_type":"assistant_message","content":"\xff"}\n\n', SSE)
        return said(b'{"id":"x","name":"\xff"}')

    async with behind("letta", answer) as stack:
        agent = await stack.make_agent()
        found = await error_of(stack, f'{{ agent(id: "{agent}") {{ name }} }}')
        assert (found["code"], found["reason"], found["service"]) == ("UPSTREAM_ERROR", "DECODE", "letta")
        events = await message_to(stack, agent)
        assert "DECODE" in str(events[-1])


async def message_to(stack: Stack, agent: str) -> list[dict[str, Any]]:
    """Return the events of the answer to a message, or the refusal of the message."""
    query = """subscription($a: ID!, $k: ID!) {
      message(streamKey: $k, input: {to: {agentId: $a}, content: [{text: "x"}]}) {
        __typename ... on StreamEnded { outcome error { code reason } } } }"""
    asked = {"query": query, "variables": {"a": agent, "k": "k" * 32}}
    headers = {**stack.headers(), "accept": "text/event-stream"}
    async with stack.client.stream("POST", "/graphql", json=asked, headers=headers) as response:
        if response.headers["content-type"].startswith("text/event-stream"):
            return [event async for event in event_stream(response)]
        return [orjson.loads(await response.aread())]


async def test_invalid_utf_8_in_a_stream_is_an_error() -> None:
    events = b'data: {"choices":[],"x":"\xff"}\n\ndata: {"choices":"\xff"}\n\n'
    async with behind("litellm", lambda *_: said(events, SSE)) as stack:
        answer = await at_v1(stack, "chat/completions", stream=True)
        assert ('"error"' in answer.text, "[DONE]" in answer.text) == (True, False)


async def test_a_refusal_with_invalid_utf_8_is_a_refusal() -> None:
    async with behind("litellm", lambda *_: said(b'{"error":{"message":"\xff"}}', status=400)) as stack:
        answer = await at_v1(stack, "chat/completions")
        assert answer.status_code in {400, 502}
    async with behind("ams", lambda *_: said(b'{"error":"\xff"}', status=400)) as stack:
        assert (await error_of(stack))["code"] == "BAD_USER_INPUT"


PROFILE = {"id": ADA, "profile_exists": True}


async def test_a_404_for_a_profile_is_an_upstream_error() -> None:
    async with behind("ams", lambda *_: said(b"<html>", HTML, 404)) as stack:
        found = await error_of(stack)
        assert (found["code"], found["reason"]) == ("UPSTREAM_ERROR", "STATUS")
        assert (await at_v1(stack, "models")).status_code == 502


NO_PROFILES = """{} [] null "ok" {"agents":5} {"agents":[]} {"error":"later"} {"message":"ok","status":200} {"id":"u"}
{"id":"u","profile_exists":true} {"id":5,"profile_exists":true,"agents":[]} {"profile_exists":true,"agents":[{}]}"""


@pytest.mark.parametrize("body", NO_PROFILES.encode().split())
async def test_an_invalid_profile_is_unreadable(body: bytes) -> None:
    async with behind("ams", lambda *_: said(body)) as stack:
        for query in (f'{{ agent(id: "{AGENT}") {{ id }} }}', LIST):
            found = await error_of(stack, query)
            assert (found["code"], found["reason"], found["retryable"]) == ("UPSTREAM_ERROR", "DECODE", False)


@pytest.mark.parametrize(
    ("profile", "agents"),
    [
        ({**PROFILE, "agents": [{"agent_id": AGENT}]}, 1),
        ({**PROFILE, "agents": {AGENT: {"name": "n", "status": "registered"}}}, 1),
        ({**PROFILE, "letta_agent_id": AGENT}, 1),
        ({"letta_agent_id": AGENT}, 1),
        ({"agents": {AGENT: {}}}, 1),
        ({**PROFILE, "agents": []}, 0),
        ({**PROFILE, "letta_agent_id": None}, 0),
        ({"id": None, "profile_exists": False}, 0),
        ({"profile_exists": False}, 0),
    ],
)
async def test_each_documented_shape_of_a_profile_is_read(profile: dict[str, Any], agents: int) -> None:
    async with behind("ams", lambda *_: said(orjson.dumps(profile))) as stack:
        answer = await stack.graphql("{ viewer { agents { nodes { id version } } } }")
        assert len(answer["data"]["viewer"]["agents"]["nodes"]) == agents
        assert "errors" not in answer


@pytest.mark.parametrize("body", [b"<html>", b"{}"])
async def test_unreadable_answers_are_errors_in_the_metrics_and_open_a_breaker(body: bytes) -> None:
    async with behind("ams", lambda *_: said(body), breaker_reset_seconds=60) as stack:
        for _ in range(5):
            assert (await error_of(stack))["reason"] == "DECODE"
        assert (await error_of(stack))["reason"] == "BREAKER_OPEN"
        failed = 'agentgraph_upstream_calls_total{operation="me",outcome="error",service="ams"} 5.0'
        assert failed in (await stack.client.get("/metrics")).text


ME = orjson.dumps({**PROFILE, "agents": [{"agent_id": AGENT, "template_id": "t", "version": "1.0.0"}]})


@pytest.mark.parametrize("body", [b"{}", b'{"error":"x"}', b"[]"])
@pytest.mark.parametrize(
    ("service", "query"),
    [
        ("ams", "{ templates { nodes { id } } }"),
        ("ams", f'{{ agent(id: "{AGENT}") {{ template {{ name }} }} }}'),
        ("ams", f'{{ agent(id: "{AGENT}") {{ upgradePlan {{ warnings }} }} }}'),
        ("litellm", "{ models { name } }"),
        ("litellm", "{ viewer { budget { spendUsd } } }"),
        ("letta", "{ viewer { agents(first: 1) { nodes { status name runs { nodes { id } } } } } }"),
    ],
)
async def test_an_answer_without_its_required_fields_is_unreadable(service: str, query: str, body: bytes) -> None:
    def answer(_: str, path: str, __: bytes) -> Scripted:
        return said(ME if path == "/me" else body)

    async with behind(service, answer) as stack:
        if service == "litellm":
            await stack.own_key()
        found = await error_of(stack, query)
        if body == b"[]" and service == "letta":
            assert found["reason"] == "DECODE"  # a list is valid for runs, but not for an agent
        assert (found.get("code"), found.get("reason")) == ("UPSTREAM_ERROR", "DECODE")


DELETE = "mutation($i: DeleteAgentInput!) { deleteAgent(input: $i) { deletedAgentId errors { message } } }"


def deleting(*answers: Scripted) -> tuple[Answer, list[str]]:
    """Return the script of an AMS that answers DELETEs with ``answers``, then 404, and the paths of the DELETEs."""
    seen: list[str] = []

    def answer(method: str, path: str, _: bytes) -> Scripted:
        if method != "DELETE":
            return said(ME)
        seen.append(path)
        return answers[len(seen) - 1] if len(seen) <= len(answers) else said(b'{"error":"none"}', status=404)

    return answer, seen


async def test_a_deletion_is_not_repeated_after_a_dropped_connection() -> None:
    answer, seen = deleting(Scripted(raw=b"", close=True))
    async with behind("ams", answer) as stack:
        [error] = (await stack.graphql(DELETE, {"i": {"agentId": AGENT}}))["errors"]
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UPSTREAM_ERROR", "CUT")
        assert seen == [f"/agents/{AGENT}"]


async def test_a_deletion_with_stray_bytes_after_204_succeeds() -> None:
    answer, seen = deleting(Scripted(raw=b"HTTP/1.1 204 No Content\r\n\r\n{}"))
    async with behind("ams", answer) as stack:
        deleted = await stack.graphql(DELETE, {"i": {"agentId": AGENT}})
        assert deleted["data"]["deleteAgent"]["errors"] == []
        assert len(seen) == 1


@pytest.mark.parametrize("body", [b'{"error":"no"}', b"<html>"])
async def test_a_deletion_with_an_unexpected_answer_fails(body: bytes) -> None:
    answer, _ = deleting(said(body))
    async with behind("ams", answer) as stack:
        failed = await stack.graphql(DELETE, {"i": {"agentId": AGENT}})
        assert failed["errors"][0]["extensions"]["reason"] == "DECODE"


async def test_a_read_is_repeated_once_after_a_dropped_idle_connection() -> None:
    calls: list[str] = []

    def answer(method: str, path: str, _: bytes) -> Scripted:
        calls.append(f"{method} {path}")
        return Scripted(raw=b"", close=True) if len(calls) == 2 else said(ME)

    async with behind("ams", answer, cache="off") as stack:
        for _ in range(2):
            assert await error_of(stack) == {}
        assert calls == ["GET /me"] * 3
        retries = 'agentgraph_upstream_retries_total{cause="idle",operation="me",service="ams"} 1.0'
        assert retries in (await stack.client.get("/metrics")).text


@pytest.mark.parametrize(
    ("failed", "cause"),
    [
        (said(b"{}", status=500), "status"),
        (said(b"{}", status=429, Retry_After="0"), "rate_limit"),
        (Scripted(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", reset=True), "cut"),
    ],
    ids=["500", "429", "reset"],
)
async def test_a_failed_read_is_repeated_and_the_client_gets_the_answer(failed: Scripted, cause: str) -> None:
    calls: list[str] = []

    def answer(_: str, path: str, __: bytes) -> Scripted:
        calls.append(path)
        return failed if len(calls) < 3 else said(ME)

    async with behind("ams", answer) as stack:
        assert await error_of(stack) == {}
        assert calls == ["/me"] * 3
        retries = f'agentgraph_upstream_retries_total{{cause="{cause}",operation="me",service="ams"}} 2.0'
        assert retries in (await stack.client.get("/metrics")).text
        lines = [line for line in map(orjson.loads, stack.log.getvalue().splitlines()) if line["event"] != "request"]
        retried = [line for line in lines if line["event"] == "upstream retried"]
        assert [(line["cause"], line["operation"]) for line in retried] == [(cause, "me")] * 2
        assert {line["request_id"] for line in lines if line.get("service") == "ams"} == {retried[0]["request_id"]}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_write_is_not_repeated_after_it_was_sent(status: int) -> None:
    answer, seen = deleting(said(b"{}", status=status), said(b"{}", status=status))
    async with behind("ams", answer) as stack:
        assert (await stack.graphql(DELETE, {"i": {"agentId": AGENT}}))["errors"]
        assert len(seen) == 1


async def test_a_reset_in_an_answer_without_a_length_is_a_cut() -> None:
    async with behind("ams", lambda *_: Scripted(pieces=[ME], framed=False, reset=True)) as stack:
        found = await error_of(stack)
        assert (found["code"], found["reason"]) == ("UPSTREAM_ERROR", "CUT")


WAIT = {"Retry-After": "7"}


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (429, "RATE_LIMITED", None),
        (408, "UPSTREAM_TIMEOUT", "TOTAL"),
        *((status, "UPSTREAM_ERROR", "STATUS") for status in (418, 500, 501, 502, 503, 504)),
    ],
)
@pytest.mark.parametrize("service", ["ams", "letta"])
async def test_a_refusal_has_its_code_and_retry_after(service: str, status: int, code: str, reason: str | None) -> None:
    async with behind(service, lambda *_: said(b'{"detail":"secret"}', status=status, **WAIT)) as stack:
        agent = await stack.make_agent()
        found = await error_of(stack, f'{{ agent(id: "{agent}") {{ name }} }}' if service == "letta" else LIST)
        assert (found["code"], found.get("reason"), found["service"]) == (code, reason, service)
        assert (found["retryable"], found["retryAfterSeconds"]) == (True, 7.0)


async def test_spent_credits_of_letta_are_budget_exceeded() -> None:
    async with behind("letta", lambda *_: said(b'{"error":"no credits"}', status=402)) as stack:
        agent = await stack.make_agent()
        found = await error_of(stack, f'{{ agent(id: "{agent}") {{ name }} }}')
        assert (found["code"], found["retryable"]) == ("BUDGET_EXCEEDED", False)


@pytest.mark.parametrize("path", PATHS)
async def test_a_503_of_litellm_has_retry_after(path: str) -> None:
    async with behind("litellm", lambda *_: said(b"<html>", HTML, 503, **WAIT)) as stack:
        answer = await at_v1(stack, path)
        assert (answer.status_code, answer.headers["retry-after"]) == (502, "7")


@pytest.mark.parametrize(("budget", "usd"), [(1e16, "1" + "0" * 16), (1e30, "1" + "0" * 30), ("NaN", None)])
async def test_a_budget_of_any_size_is_read(stack: Stack, budget: object, usd: str | None) -> None:
    await stack.own_key(max_budget=budget)
    answer = await stack.graphql("{ viewer { budget { spendUsd maxUsd remainingUsd } } }")
    assert answer["data"]["viewer"]["budget"] == {"spendUsd": "0", "maxUsd": usd, "remainingUsd": usd}
    reasons = [error["extensions"]["reason"] for error in answer.get("errors", [])]
    assert reasons == ([] if usd else ["DECODE"] * 2)
