"""Runs the server of one process: a gateway's only process, or a worker."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from app.audit_file import audit_logger
from app.connections.early import EarlyProbes
from app.connections.idle_connections import open_more_files
from app.connections.server import server_config
from app.drain import Drain
from app.endpoints import Endpoints
from app.logs import log_everything, make_logger
from app.main import create_app
from app.operations import OperationsPort, operations_app
from app.settings import Settings
from app.stopping import Server
from app.telemetry import Telemetry
from app.workers.link import Link

if TYPE_CHECKING:
    from app.embedded.store import Store


def run_alone(
    settings: Settings,
    listeners: Sequence[socket.socket],
    store: Store | None,
    announced: Callable[[Any], None],
    early: EarlyProbes,
) -> None:
    """Run a gateway of one process until a signal arrives.

    Args:
        settings: the settings.
        listeners: the listening socket, and the socket for ``OPERATIONS_PORT`` if there is one.
        store: the embedded platform's data; ``None`` if the data is in memory.
        announced: announces the start, and is called with the log.
        early: answers probes until the gateway is open.
    """
    telemetry = Telemetry(make_logger(settings.log_level), audit_logger(settings.audit_log))
    announced(telemetry.log)
    _serve(settings, telemetry, listeners, store=store, early=early)


def run_worker(descriptor: int) -> None:
    """Run a worker until a signal arrives. ``descriptor`` is the worker's connection to the supervisor."""
    link = Link(descriptor)
    settings = Settings.load()
    log = make_logger(settings.log_level).bind(worker=link.welcome.number)
    listeners = [
        socket.socket(fileno=one) for one in (link.welcome.listener, link.welcome.operations) if one is not None
    ]
    _serve(settings, Telemetry(log, audit_logger(settings.audit_log)), listeners, link=link)


def _serve(
    settings: Settings,
    telemetry: Telemetry,
    listeners: Sequence[socket.socket],
    *,
    store: Store | None = None,
    link: Link | None = None,
    early: EarlyProbes | None = None,
) -> None:
    drain, endpoints, operations = Drain(), Endpoints(), None
    log_everything(telemetry.log)
    open_more_files()
    app = create_app(settings, telemetry, store=store, drain=drain, endpoints=endpoints, announces=True, link=link)
    listener, *others = listeners
    if others:
        operations = OperationsPort(operations_app(endpoints, telemetry, drain), settings, others[0])
    config = server_config(app, settings, loop="uvloop")
    grace = settings.shutdown_grace_seconds
    server = Server(
        config, drain, telemetry, grace=grace, operations=operations, early=early, is_worker=link is not None
    )
    server.run(sockets=[listener])
