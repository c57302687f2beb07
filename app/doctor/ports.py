"""Checks of the addresses and ports on which the gateway listens."""

from __future__ import annotations

import asyncio
import errno

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, ok, problem
from app.doctor.identity import is_gateway
from app.doctor.installation import Installation, Server
from app.listening import bound
from clients.site import NoAnswer


async def _port(installation: Installation) -> Finding:
    settings = installation.settings
    return await _listener(installation.gateway, settings.bind_host, settings.port, "")


async def _operations_port(installation: Installation) -> Finding:
    settings, operations = installation.settings, installation.operations
    if operations is None or settings.operations_port is None:
        raise NotChecked("OPERATIONS_PORT is not set.")
    host = settings.operations_host or settings.bind_host
    return await _listener(operations, host, settings.operations_port, "OPERATIONS_")


async def _listener(server: Server, host: str, port: int, prefix: str) -> Finding:
    """Return whether the gateway can listen, or listens already. The settings' names begin with ``prefix``."""
    if port == 0:
        raise NotChecked(f"{prefix}PORT is 0, so the system chooses a free port.")
    try:
        (await asyncio.to_thread(bound, host, port)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return await _taken(server, prefix)
        return problem(
            f"The gateway cannot listen on {host}, port {port}: {error.strerror}.",
            f"Set {prefix}HOST to an address of this machine, or {prefix}PORT to a port that its user may use.",
        )
    return ok(f"No gateway runs at {server.url}, and the port is free.")


async def _taken(server: Server, prefix: str) -> Finding:
    try:
        runs = is_gateway(await server.answer("/readyz"))
    except NoAnswer:
        runs = False
    if runs:
        return ok(f"A gateway runs at {server.url}.")
    return problem(
        f"Another program listens on {server.url}.", f"Stop the program, or set {prefix}PORT to another port."
    )


CHECKS = (
    Check(
        name="settings.port",
        looks_at="another program at `PORT`, and a `HOST` that is no address of this machine",
        run=_port,
    ),
    Check(
        name="settings.operations_port",
        looks_at="the same for `OPERATIONS_PORT` and `OPERATIONS_HOST`",
        run=_operations_port,
    ),
)
"""The checks of the gateway's own addresses."""
