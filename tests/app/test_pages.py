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
def test_a_client_of_a_different_machine_is_not_local(client: str | None) -> None:
    assert not is_local(scope(client))


def test_a_request_with_two_hosts_is_not_local() -> None:
    assert not is_local(scope("127.0.0.1", b"localhost", b"rebound.example"))


def test_values_are_escaped_unless_they_are_markup() -> None:
    assert filled("{{a}} {{b}}", {"a": "<&>", "b": Markup("<br>")}) == "&lt;&amp;&gt; <br>"


def test_a_digest_has_the_form_of_csp() -> None:
    assert digest("alert('Hello, world.');") == "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"


@pytest.mark.parametrize(
    ("route", "linked"),
    [
        (Mount("/demo", Response()), True),
        (Route("/demo/{path:path}", Response()), True),
        (Route("/demonstration", Response()), False),
    ],
)
def test_the_chat_example_is_linked_if_it_is_served(route: Mount | Route, linked: bool) -> None:
    assert ('href="/demo"' in address_rows({"app": Starlette(routes=[route])})) is linked
