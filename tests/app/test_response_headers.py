"""The headers of every response, with the CORS headers for the request's origin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from openai import _base_client

from app.main import EXPOSED_HEADERS
from app.response_headers import ResponseHeaders

ORIGIN = b"https://app.example"


def added(
    headers: list[tuple[bytes, bytes]], *, origin: bytes | None = None, allowed: str = ORIGIN.decode(), **scope: Any
) -> list[tuple[bytes, bytes]]:
    sent = [] if origin is None else [(b"origin", origin)]
    message: dict[str, Any] = {"type": "http.response.start", "headers": headers}
    given = {"type": "http", "scheme": "http", "headers": sent, "state": {"request_id": "r"}, **scope}
    options = {"allow_origins": [allowed], "expose_headers": ["X-Request-ID"]}
    ResponseHeaders(options, hsts_seconds=60).add(message, given, closes=scope.get("closes", False))
    found: list[tuple[bytes, bytes]] = message["headers"]
    return found


def test_a_page_of_an_allowed_origin_can_read_the_answer() -> None:
    found = dict(added([(b"content-type", b"a/b")], origin=ORIGIN))
    assert found[b"access-control-allow-origin"] == ORIGIN
    assert found[b"access-control-expose-headers"] == b"X-Request-ID"
    assert (found[b"vary"], found[b"x-request-id"]) == (b"Origin", b"r")


@pytest.mark.parametrize("origin", [None, b"https://evil.example", b"null"])
def test_no_other_page_can_read_the_answer(origin: bytes | None) -> None:
    found = dict(added([], origin=origin))
    assert not [name for name in found if name.startswith(b"access-control")]
    assert found[b"vary"] == b"Origin"


def test_each_header_is_sent_once_if_all_origins_are_allowed() -> None:
    names = [name for name, _ in added([], origin=ORIGIN, allowed="*")]
    assert len(names) == len(set(names))
    assert dict(added([], origin=ORIGIN, allowed="*"))[b"access-control-allow-origin"] == b"*"


def test_a_responses_own_headers_stay() -> None:
    own = [(b"vary", b"Accept"), (b"content-security-policy", b"default-src 'none'"), (b"connection", b"keep-alive")]
    found = added(own, closes=True)
    assert sorted(name for name, _ in found) == sorted({name for name, _ in found})
    assert dict(found)[b"content-security-policy"] == b"default-src 'none'"
    assert (dict(found)[b"vary"], dict(found)[b"connection"]) == (b"Accept, Origin", b"close")


def test_vary_names_the_origin_once() -> None:
    assert dict(added([(b"vary", b"Accept, Origin")]))[b"vary"] == b"Accept, Origin"


@pytest.mark.parametrize(("scheme", "is_sent"), [("https", True), ("http", False)])
def test_hsts_is_sent_over_https_only(scheme: str, is_sent: bool) -> None:
    assert ((b"strict-transport-security", b"max-age=60") in added([], scheme=scheme)) is is_sent


NEVER_SENT = {"retry-after-ms", "openai-poll-after-ms"}
"""Headers of OpenAI's own servers."""


def test_pages_can_read_the_headers_that_openais_sdk_reads() -> None:
    source = Path(_base_client.__file__).read_text()
    read = {name.lower() for name in re.findall(r"headers\.get\(\s*\"([\w-]+)\"", source)}
    assert {"retry-after", "x-request-id", "x-should-retry"} <= read
    exposed = {name.lower() for name in EXPOSED_HEADERS}
    assert read - NEVER_SENT - {"authorization", "content-type", "content-length"} <= exposed
