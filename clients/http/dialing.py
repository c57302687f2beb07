"""Opens connections to one origin."""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from clients.http.messages import Origin

RESOLVED_SECONDS = 30.0
"""The seconds for which the addresses of a host name are cached."""

NEXT_ADDRESS_SECONDS = 0.25
"""The seconds after which the client tries the next address, if an address has not answered (RFC 8305, 8)."""

Address = tuple[socket.AddressFamily, Any]


class Dialer:
    """Opens connections to one origin. ``tls`` is the TLS context for https."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._tls = tls
        self._addresses: list[Address] = []
        self._known_until = 0.0
        self._lookup: asyncio.Task[None] | None = None

    async def dial(self, make: Callable[[], asyncio.Protocol], timeout_seconds: float | None) -> None:
        """Open a connection.

        Args:
            make: creates the connection's protocol.
            timeout_seconds: the timeout for DNS, TCP and TLS together; ``None`` for no timeout.

        Raises:
            httpx.ConnectError: the server cannot be reached.
            httpx.ConnectTimeout: the connection was not established within ``timeout_seconds``.
        """
        clock = asyncio.timeout(timeout_seconds)
        try:
            async with clock:
                await self._dial(make)
        except TimeoutError as error:
            self._known_until = 0.0
            if not clock.expired():  # the operating system's own timeout
                raise httpx.ConnectError(str(error) or "timed out") from error
            raise httpx.ConnectTimeout("The connection was not established in time.") from error
        except OSError as error:  # ssl.SSLError is one
            raise httpx.ConnectError(str(error) or type(error).__name__) from error

    async def _dial(self, make: Callable[[], asyncio.Protocol]) -> None:
        addresses = await self._resolve()
        try:
            sock = await (_connected(addresses[0]) if len(addresses) == 1 else _first_connected(addresses))
        except OSError:
            self._known_until = 0.0
            raise
        name = self._origin.host.rstrip(".") if self._tls is not None else None
        loop = asyncio.get_running_loop()  # if the next call fails, the loop closes the socket
        await loop.create_connection(make, sock=sock, ssl=self._tls, server_hostname=name)

    async def _resolve(self) -> list[Address]:
        """Return the origin's addresses, and rotate the list for the next call (round-robin)."""
        if time.monotonic() >= self._known_until:
            if self._lookup is None:
                self._lookup = asyncio.create_task(self._look_up())
                self._lookup.add_done_callback(_retrieve)
            await asyncio.shield(self._lookup)
        addresses = self._addresses
        self._addresses = [*addresses[1:], addresses[0]]
        return addresses

    async def _look_up(self) -> None:
        try:
            self._addresses = await resolved(self._origin)
            self._known_until = time.monotonic() + RESOLVED_SECONDS
        finally:
            self._lookup = None


def _retrieve(lookup: asyncio.Task[None]) -> None:
    """Retrieve the error of a lookup whose callers have all been cancelled."""
    if not lookup.cancelled():
        lookup.exception()


async def resolved(origin: Origin) -> list[Address]:
    """Return the addresses of an origin's host, which is a host name or an IP address."""
    with suppress(ValueError):
        address = ipaddress.ip_address(origin.host)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return [(family, (origin.host, origin.port))]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is empty or longer than 63 characters
        raise OSError("the host name is not valid") from error
    addresses: list[Address] = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    if not addresses:
        raise OSError("the host name has no address")
    return _alternating(addresses)


def _alternating(addresses: list[Address]) -> list[Address]:
    """Return the addresses with alternating families (RFC 8305, 4).

    If one family has no route, a connection then waits for at most one address of this family.
    """
    first = [one for one in addresses if one[0] == addresses[0][0]]
    other = deque(one for one in addresses if one[0] != addresses[0][0])
    found = []
    for one in first:
        found += [one, other.popleft()] if other else [one]
    return [*found, *other]


async def _connected(address: Address) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:  # a cancellation also closes the socket
        sock.close()
        raise
    return sock


async def _first_connected(addresses: list[Address]) -> socket.socket:
    """Try the addresses in order, and return the first connection (RFC 8305, 5).

    If an address fails, try the next address at once. If an address does not answer within ``NEXT_ADDRESS_SECONDS``,
    try the next address concurrently.
    """
    waiting, running = deque(addresses), set[asyncio.Task[socket.socket]]()
    error: OSError | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_connected(waiting.popleft())))
            delay = NEXT_ADDRESS_SECONDS if waiting else None
            done, _ = await asyncio.wait(running, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                running.discard(task)
                try:
                    return task.result()
                except OSError as failed:
                    error = failed
        raise error or OSError("the host name has no address")
    finally:
        error = None  # avoids a reference cycle
        for task in running:
            task.add_done_callback(_close)
            task.cancel()


def _close(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
