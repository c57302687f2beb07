from __future__ import annotations

import asyncio
import socket
import ssl

import httpx
import pytest
import trustme
from redis.exceptions import AuthenticationError

from clients.causes import cause_of
from clients.http.transport import HttpTransport


async def failure(url: str) -> httpx.TransportError:
    async with httpx.AsyncClient(transport=HttpTransport(), timeout=5) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get(url)
    return caught.value


async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_a_closed_port_and_an_unknown_host_are_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert cause_of(await failure(f"http://127.0.0.1:{free.getsockname()[1]}")) == "connection refused"
    assert cause_of(await failure("http://nowhere.invalid")) == "the host name cannot be resolved"


async def test_a_certificate_that_is_not_trusted_and_a_server_without_tls_are_named() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    for tls, start in ((context, "the TLS certificate is not trusted ("), (None, "TLS failed (wrong version number)")):
        server = await asyncio.start_server(closing, "127.0.0.1", 0, ssl=tls)
        async with server:
            error = await failure(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert (cause_of(error) or "").startswith(start)


def test_an_unnamed_error_has_no_cause_and_a_chain_is_followed() -> None:
    assert cause_of(ValueError("x")) is None
    assert cause_of(AuthenticationError("x")) == "the password in REDIS_PASSWORD or REDIS_URL was refused"
    error = RuntimeError("x")
    error.__cause__ = ConnectionResetError(104, "x")
    error.__cause__.__context__ = error
    assert cause_of(error) == "connection reset by peer"
