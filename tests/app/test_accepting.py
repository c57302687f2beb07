"""All waiting connections are accepted in a few iterations of the event loop."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from app.connections.accepting import INTERVAL_SECONDS, Acceptor


class Accepted(asyncio.Protocol):
    """Counts the accepted connections."""

    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Accepted.made += 1


async def _iterations(number: int, *, accepts: bool) -> int:
    """Return the iterations of the loop until this number of simultaneous connections is accepted."""
    Accepted.made = 0
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=number) as listener:
        server = await loop.create_server(Accepted, sock=listener)
        acceptor = Acceptor([listener], Accepted)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(number)]
        if accepts:
            acceptor.start()
        iterations = 0
        end = loop.time() + INTERVAL_SECONDS * 40
        while Accepted.made < number and loop.time() < end:
            await asyncio.sleep(INTERVAL_SECONDS)  # each is an iteration of a busy loop
            iterations += 1
        acceptor.stop()
        server.close()
        for client in clients:
            client.close()
    return iterations


@pytest.mark.timeout(20)
def test_pending_connections_are_accepted_in_few_iterations() -> None:
    assert uvloop.run(_iterations(30, accepts=True)) < 10


async def test_a_stopped_acceptor_accepts_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        acceptor = Acceptor([listener], Accepted)
        acceptor.start()
        acceptor.stop()
        with socket.create_connection(listener.getsockname()):
            await asyncio.sleep(INTERVAL_SECONDS * 2)
            listener.accept()[0].close()
