"""Request bodies that are compressed, in different encodings, or invalid JSON."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

import pytest
import pytest_asyncio

from app.json_text import MAX_CONTAINERS
from tests.support.openai import asking
from tests.support.stack import Stack, any_stack, embedded_stack, opened_socket
from tests.support.websocket import close_of

QUERY = b'{"query": "{ viewer { email } }"}'
ANSWER = {"data": {"viewer": {"email": "ada@example.com"}}}
JSON = {"content-type": "application/json"}
PATHS = pytest.mark.parametrize("path", ["/graphql", "/v1/chat/completions"])

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with any_stack(rate_limit_general=0, rate_limit_llm=0) as running:
        yield running


def raw_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezer.compress(data) + squeezer.flush()


CODED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip in capitals": ("GZIP", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
    "empty": ("", bytes),
    "twice": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "padded": ("gzip", lambda data: gzip.compress(data) + b"\0" * 9),
}


@pytest.mark.parametrize("kind", CODED)
async def test_every_endpoint_reads_compressed_bodies(stack: Stack, kind: str) -> None:
    coding, pack = CODED[kind]
    headers = JSON | {"content-encoding": coding}
    graph = await stack.client.post("/graphql", content=pack(QUERY), headers=headers | stack.headers())
    assert graph.json() == ANSWER
    packed = pack(json.dumps(asking(stack, "tokens=2 delay=0")).encode())
    rest = await stack.client.post("/v1/chat/completions", content=packed, headers=headers | stack.headers())
    assert rest.json()["choices"][0]["message"]["content"] == "tok0 tok1"
    if not stack.real:
        secret = {"authorization": f"Bearer {stack.agent_secret()}"}
        proxied = await stack.client.post(f"{stack.proxy()}/chat/completions", content=packed, headers=headers | secret)
        assert proxied.json()["choices"][0]["message"]["content"] == "tok0 tok1"


async def test_codings_in_several_headers_are_decoded_in_order(stack: Stack) -> None:
    headers = [*(JSON | stack.headers()).items(), ("content-encoding", "deflate"), ("content-encoding", "gzip")]
    packed = gzip.compress(zlib.compress(QUERY))
    assert (await stack.client.post("/graphql", content=packed, headers=headers)).json() == ANSWER


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", ", ".join(["gzip"] * 4)])
@PATHS
@pytest.mark.bound("codings")
async def test_unknown_codings_are_415_with_the_known_ones(stack: Stack, path: str, coding: str) -> None:
    headers = JSON | stack.headers() | {"content-encoding": coding}
    answer = await stack.client.post(path, content=b"\x28\xb5\x2f\xfd", headers=headers)
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    body = answer.json()
    reason = body["errors"][0]["extensions"]["reason"] if path == "/graphql" else body["error"]["code"]
    assert reason.upper() == "CONTENT_ENCODING"


PACKED = gzip.compress(QUERY, mtime=0)


def body_of(containers: int) -> bytes:
    """Return a body with this number of objects and arrays, and many brackets in a string."""
    within = b",".join([b"[]"] * (containers - 3))
    return b'{"query": "{ viewer { email } }", "extensions": {"t": "' + b"{[" * 30_000 + b'", "x": [' + within + b"]}}"


@pytest.mark.bound("containers")
async def test_a_body_past_the_bound_on_objects_and_arrays_is_refused(stack: Stack) -> None:
    headers = JSON | stack.headers()
    at = await stack.client.post("/graphql", content=body_of(MAX_CONTAINERS), headers=headers)
    assert at.json() == ANSWER
    past = await stack.client.post("/graphql", content=body_of(MAX_CONTAINERS + 1), headers=headers)
    assert past.status_code == 413
    assert past.json()["errors"][0]["extensions"]["reason"] == "CONTAINERS"
    assert "50,000 objects" in past.text
    async with opened_socket(stack) as socket:
        await socket.tell(id="1", type="subscribe", payload={"query": "{ __typename }", "x": [[]] * MAX_CONTAINERS})
        assert (await close_of(socket.socket))[0] == 1009


CORRUPT = {
    "not compressed": (QUERY, "is corrupt"),
    "cut off": (PACKED[:-9], "ends too early"),
    "one byte": (PACKED[:1], "ends too early"),
    "another checksum": (PACKED[:-8] + b"\1" * 8, "is corrupt"),
    "more behind it": (PACKED + b"more", "has bytes after its end"),
    "a byte more": (PACKED + b"m", "has bytes after its end"),
}


@PATHS
@pytest.mark.parametrize("kind", CORRUPT)
async def test_corrupt_compressed_data_is_400(stack: Stack, path: str, kind: str) -> None:
    body, told = CORRUPT[kind]
    headers = JSON | stack.headers() | {"content-encoding": "gzip"}
    answer = await stack.client.post(path, content=body, headers=headers)
    assert answer.status_code == 400
    assert f"the gzip data {told}." in answer.text


@PATHS
@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
async def test_the_limit_counts_decoded_bytes_and_encoded_ones(path: str, coding: str) -> None:
    async with embedded_stack(max_body_bytes=20_000) as stack:
        bomb = gzip.compress(b" " * 10_000_000)
        for _ in range(coding.count(",")):
            bomb = gzip.compress(bomb)
        assert len(bomb) < 20_000
        headers = JSON | stack.headers() | {"content-encoding": coding}
        answer = await stack.client.post(path, content=bomb, headers=headers)
        assert answer.status_code == 413
        assert "20,000 bytes" in answer.text
        encoded = await stack.client.post(path, content=b"\0" * 20_001, headers=headers)
        assert encoded.status_code == 413


NOT_JSON = {
    "half a pair": (b'{"query": "\\ud83d"}', "surrogate pair at line 1, column 12"),
    "the other half": (b'{"query":\n "ok \\ude00"}', "surrogate pair at line 2, column 6"),
    "half a pair in a name": (b'{"a\\ud83d": 1}', "surrogate pair at line 1, column 4"),
    "half a pair in variables": (b'{"query": "{ a }", "variables": {"x": ["\\udc00"]}}', "line 1, column 41"),
    "NaN": (b'{"variables": {"x": NaN}}', "NaN, which is not a JSON number, at line 1, column 21"),
    "-Infinity": (b'{"variables": {"x": -Infinity}}', "-Infinity, which is not a JSON number, at line 1, column 21"),
    "a comma at the end": (b'{\n"query": "{ a }",\n}', "trailing comma is not allowed at line 2"),
    "cut off": (b'{"query": ', "at line 1, column 11"),
    "no UTF-8": (b'{"query": "\xff"}', "byte at offset 11 is not valid UTF-8"),
    "a surrogate in UTF-8": (b'{"query": "\xed\xa0\xbd"}', "byte at offset 11 is not valid UTF-8"),
    "UTF-16": ('{"query": "{ a }"}'.encode("utf-16"), "UTF-16 (a byte order mark at offset 0)"),
    "UTF-16 without a mark": ('{"query": "{ a }"}'.encode("utf-16-le"), "UTF-16 (a NUL byte at offset 1)"),
    "UTF-32": ('{"query": "{ a }"}'.encode("utf-32"), "UTF-32 (a byte order mark at offset 0)"),
    "two byte order marks": (b'\xef\xbb\xbf\xef\xbb\xbf{"query": "{ a }"}', "(BOM) at line 1, column 1"),
    "a byte order mark within": (b'{\n"query": \xef\xbb\xbf"{ a }"}', "(BOM) at line 2, column 10"),
    "a bare name": (b"{query: 1}", "at line 1, column 2"),
}


@pytest.mark.parametrize("kind", NOT_JSON)
@PATHS
async def test_a_json_error_is_reported_with_its_position(stack: Stack, path: str, kind: str) -> None:
    body, told = NOT_JSON[kind]
    answer = await stack.client.post(path, content=body, headers=JSON | stack.headers())
    error = answer.json()["errors"][0] if path == "/graphql" else answer.json()["error"]
    assert answer.status_code == 400
    assert error["message"].startswith("The request body is not valid JSON: ")
    assert told in error["message"]


@PATHS
@pytest.mark.parametrize("body", [b"", b" \n"])
async def test_an_empty_body_is_reported(stack: Stack, path: str, body: bytes) -> None:
    answer = await stack.client.post(path, content=body, headers=JSON | stack.headers())
    assert answer.status_code == 400
    assert "The request body is empty." in answer.text


@pytest.mark.parametrize(
    "kind", sorted(NOT_JSON.keys() - {"UTF-16", "UTF-16 without a mark", "UTF-32", "no UTF-8", "two byte order marks"})
)
async def test_invalid_json_closes_the_socket_with_its_position(stack: Stack, kind: str) -> None:
    body, told = NOT_JSON[kind]
    async with opened_socket(stack) as socket:
        await socket.socket.send(body.decode("utf-8", "surrogatepass") if kind != "a surrogate in UTF-8" else body)
        code, reason = await close_of(socket.socket)
    assert (code, reason.startswith("The message is not valid JSON: "), told in reason) == (4400, True, True)


async def test_errors_of_variables_in_an_address_are_reported_with_their_position(stack: Stack) -> None:
    address = "/graphql?query=%7B__typename%7D&variables=" + quote('{"x": "\\ud83d"}')
    answer = await stack.client.get(address, headers=stack.headers())
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"].startswith(
        "The parameter `variables` is not valid JSON: an escape that is half"
    )
    for broken in ("%7B%ff%7D", "%ed%a0%bd"):
        answer = await stack.client.get(f"/graphql?query={broken}", headers=stack.headers())
        assert (answer.status_code, "not valid UTF-8: a decoded value has the byte 0x" in answer.text) == (400, True)


async def test_a_byte_order_mark_is_removed(stack: Stack) -> None:
    answer = await stack.client.post("/graphql", content=b"\xef\xbb\xbf" + QUERY, headers=JSON | stack.headers())
    assert answer.json() == ANSWER
    marked = b"\xef\xbb\xbf" + json.dumps(asking(stack, "tokens=2 delay=0")).encode()
    answer = await stack.client.post("/v1/chat/completions", content=marked, headers=JSON | stack.headers())
    assert answer.json()["choices"][0]["message"]["content"] == "tok0 tok1"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; Charset=UTF-8", 200),
        ('application/json;charset="utf-8"', 200),
        ("application/json; charset=us-ascii", 200),
        ("application/json ; x=y", 200),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=iso-8859-1", 415),
        ("application/json; charset=", 200),
        ("application/graphql", 415),
        ("text/plain", 415),
        ("application/jsonp", 415),
        ("json", 415),
        ("", 415),
    ],
)
async def test_only_json_content_types_are_accepted(stack: Stack, content_type: str, status: int) -> None:
    headers = stack.headers() | {"content-type": content_type}
    answer = await stack.client.post("/graphql", content=QUERY, headers=headers)
    assert answer.status_code == status


async def test_a_compressed_body_past_the_limit_is_refused() -> None:
    async with any_stack(max_body_bytes=1000) as stack:
        headers = JSON | stack.headers() | {"content-encoding": "gzip"}
        answer = await stack.client.post("/graphql", content=gzip.compress(b"x") + b"\0" * 1000, headers=headers)
        assert answer.status_code == 413
