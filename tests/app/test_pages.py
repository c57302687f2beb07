from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Scope

from app.pages.landing import address_rows
from app.pages.local import is_local
from app.pages.page import Markup, digest, filled


def scope(client: str | None, *hosts: bytes) -> Scope:
    headers = [(b"host", host) for host in hosts or (b"localhost:8000",)]
    return {"type": "http", "headers": headers, "client": None if client is None else (client, 1)}


@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_client_of_this_machine_is_local(client: str) -> None:
    assert is_local(scope(client))


@pytest.mark.parametrize("client", ["192.168.1.5", "::ffff:10.0.0.1", "172.17.0.1", "localhost", "", None])
def test_a_client_of_another_machine_is_not(client: str | None) -> None:
    assert not is_local(scope(client))


def test_two_hosts_are_none() -> None:
    assert not is_local(scope("127.0.0.1", b"localhost", b"rebound.example"))


def test_gaps_are_escaped_but_for_markup() -> None:
    assert filled("{{a}} {{b}}", {"a": "<&>", "b": Markup("<br>")}) == "&lt;&amp;&gt; <br>"


def test_a_digest_is_what_csp_asks_for() -> None:
    assert digest("alert('Hello, world.');") == "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"


@pytest.mark.parametrize(
    ("route", "linked"),
    [
        (Mount("/demo", Response()), True),
        (Route("/demo/{path:path}", Response()), True),
        (Route("/demonstration", Response()), False),
    ],
)
def test_the_chat_example_is_linked_where_there_is_one(route: Mount | Route, linked: bool) -> None:
    assert ('href="/demo"' in address_rows({"app": Starlette(routes=[route])})) is linked
