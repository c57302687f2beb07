"""The heads of requests, compared with httpx's own."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clients.http.heads import Heads, origin_of
from clients.http.messages import Origin

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
pieces = st.lists(st.sampled_from([*"/.%?#a~+ :@", "..", "%41", "%zz", "é", "🙂", '"', "<", "{", "v1"]), max_size=8)
BASES = ["http://ams", "http://ams/", "https://ams.example:8443/letta", "http://[::1]:9/a%20b/", "http://h:80"]

CLIENTS = {base: httpx.AsyncClient(base_url=base) for base in BASES}


def target_of(head: bytes) -> bytes:
    return head.split(b" ")[1]


@given(st.sampled_from(BASES), pieces, st.lists(st.tuples(texts, texts), max_size=3))
@example("http://ams", [], [("a", "1"), ("b", "2"), ("a", "3")])
def test_targets_are_encoded_as_httpx_does(base: str, path: list[str], params: list[tuple[str, str]]) -> None:
    given_path = "/v1/" + "".join(path)
    client = CLIENTS[base]
    built = client.build_request("GET", given_path, params=httpx.QueryParams([*params]) if params else None)
    head = Heads(base, {}).head("GET", given_path, params, {}, 0)
    assert target_of(head) == built.url.raw_path
    assert b"host: %b\r\n" % built.headers["host"].encode() in head


def test_a_header_of_a_request_replaces_the_fixed_one_of_the_same_name() -> None:
    heads = Heads("http://ams", {"Authorization": "ours", "accept": "*/*"})
    own = {"authorization": "theirs", "x-request-id": "1"}
    expected = b"host: ams\r\naccept: */*\r\nauthorization: theirs\r\nx-request-id: 1\r\n"
    for _ in range(2):
        assert heads.head("GET", "/", (), own, 0) == b"GET / HTTP/1.1\r\n" + expected
    assert b"authorization: ours\r\n" in heads.head("GET", "/", (), {}, 0)


@pytest.mark.parametrize(("method", "length", "line"), [("POST", 0, True), ("GET", 0, False), ("DELETE", 3, True)])
def test_a_request_has_a_length_if_it_has_a_body_or_usually_has_one(method: str, length: int, line: bool) -> None:
    assert (b"content-length: %d\r\n" % length in Heads("http://ams", {}).head(method, "/", (), {}, length)) == line


@pytest.mark.parametrize("bad", ["a\r\nx: y", "a\nb", "a\0b", "é"])
def test_a_value_cannot_change_other_parts_of_the_request(bad: str) -> None:
    heads = Heads("http://ams", {})
    heads.head("GET", "/", (), {"x": "a"}, 0)
    for headers in ({"x": bad}, {bad: "x"}):
        with pytest.raises(httpx.LocalProtocolError):
            heads.head("GET", "/", (), headers, 0)
    with pytest.raises(httpx.LocalProtocolError):
        heads.head(f"GET {bad}", "/", (), {}, 0)
    if bad != "é":
        with pytest.raises(httpx.LocalProtocolError):
            heads.head("GET", f"/{bad}", (), {}, 0)


def test_origins_have_their_default_ports() -> None:
    assert origin_of(httpx.URL("https://a")) == Origin("https", "a", 443)
    assert origin_of(httpx.URL("http://[::1]")) == Origin("http", "::1", 80)
    for url in ("ftp://a", "http:///x", "/x"):
        with pytest.raises(httpx.UnsupportedProtocol):
            origin_of(httpx.URL(url))
