"""``agentgraph serve``: runs the gateway."""

import argparse
import contextlib
import socket

from app.audit_file import audit_logger
from app.banner import banner
from app.commands.data import opened_store, store_path
from app.commands.tokens import development_token
from app.drain import Drain
from app.embedded.store import Store
from app.endpoints import Endpoints
from app.idle_connections import open_more_files
from app.main import create_app
from app.operations import OperationsPort, operations_app
from app.server import server_config
from app.settings import Settings
from app.stopping import Server
from app.telemetry import Telemetry, log_everything, make_logger
from app.usage import UsageError
from app.version import VERSION


def run(options: argparse.Namespace) -> None:
    """Run the gateway until a signal arrives."""
    settings = Settings.load()
    if settings.host is None and options.host:
        settings = settings.model_copy(update={"host": options.host})
    with contextlib.ExitStack() as opened:
        store = None if options.memory or not settings.embedded_services else opened_store()
        if store is not None:
            opened.callback(store.close)
        listener, operations = _listen(settings.bind_host, settings.port), None
        if settings.operations_port is not None:
            host = settings.operations_host or settings.bind_host
            operations = _listen(host, settings.operations_port, "OPERATIONS_")
        _run(settings, listener, operations, store)


def _run(
    settings: Settings, listener: socket.socket, operations_listener: socket.socket | None, store: Store | None
) -> None:
    token = development_token("ada") if settings.development_tokens else None
    port = listener.getsockname()[1]
    data_path = None if store is None else str(store_path())
    operations_port = None if operations_listener is None else operations_listener.getsockname()[1]
    ports = {"port": port, "operations_port": operations_port}
    text = banner(settings, version=VERSION, **ports, token=token, data_path=data_path)
    telemetry = Telemetry(make_logger(settings.log_level), audit_logger(settings.audit_log))
    drain = Drain()
    log_everything(telemetry.log)
    open_more_files()
    if settings.is_production:
        telemetry.announce("starting", text, version=VERSION, **ports)  # in production, all output is JSON
    else:
        print(text, flush=True)
    endpoints, operations = Endpoints(), None
    app = create_app(settings, telemetry, store=store, drain=drain, endpoints=endpoints, announces=True)
    if operations_listener is not None:
        operations = OperationsPort(operations_app(endpoints, telemetry, drain), settings, operations_listener)
    config = server_config(app, settings, loop="uvloop")
    grace = settings.shutdown_grace_seconds
    Server(config, drain, telemetry, grace=grace, operations=operations).run(sockets=[listener])


def _listen(host: str, port: int, prefix: str = "") -> socket.socket:
    """Listen. ``prefix`` is the first part of the names of the settings for the host and the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        names = f"{prefix}PORT or {prefix}HOST"
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}. Set {names}.") from error
    listener.listen(2048)
    return listener
