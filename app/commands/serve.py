"""``agentgraph serve``: runs the gateway, in one process or in several workers."""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from app.banner import banner
from app.commands.tokens import development_token
from app.connections.early import EarlyProbes
from app.devtokens import store_path
from app.listening import bound
from app.logs import announce
from app.settings import Settings
from app.usage import UsageError
from app.version import VERSION

if TYPE_CHECKING:
    from app.embedded.store import Store


def run(options: argparse.Namespace) -> None:
    """Run the gateway until a signal arrives."""
    if options.worker is not None:
        from app.serving import run_worker  # noqa: PLC0415 - a supervisor does not need the server

        run_worker(options.worker)
        return
    settings = Settings.load(**({} if options.workers is None else {"workers": options.workers}))
    if settings.host is None and options.host:
        settings = settings.model_copy(update={"host": options.host})
    with contextlib.ExitStack() as opened:
        store = None if options.memory or not settings.embedded_services else _opened_store(opened)
        listeners = [_listen(settings.bind_host, settings.port)]
        if settings.operations_port is not None:
            host = settings.operations_host or settings.bind_host
            listeners.append(_listen(host, settings.operations_port, "OPERATIONS_"))
        _run(settings, listeners, store)


def _run(settings: Settings, listeners: list[socket.socket], store: Store | None) -> None:
    token = development_token("ada") if settings.development_tokens else None
    port, operations_port = ([one.getsockname()[1] for one in listeners] + [None])[:2]
    ports = {"port": port, "operations_port": operations_port}
    data_path = None if store is None else str(store_path())
    text = banner(
        settings, version=VERSION, port=port, operations_port=operations_port, token=token, data_path=data_path
    )

    def announced(log: Any) -> None:
        if settings.is_production:  # in production, all output is JSON
            announce(log, "starting", text, version=VERSION, **ports)
        else:
            print(text, flush=True)

    if settings.workers > 1:
        from app.workers.running import run_workers  # noqa: PLC0415 - the server is slow to import

        ended_by = run_workers(settings, listeners, store, announced)
        if ended_by is None:
            raise UsageError("no worker could start")
        if ended_by == signal.SIGINT:
            raise KeyboardInterrupt
        signal.raise_signal(ended_by)
        sys.exit(128 + ended_by)  # for a container's first process, the default action does nothing
    else:
        early = EarlyProbes(listeners)
        early.start()
        from app.serving import run_alone  # noqa: PLC0415

        run_alone(settings, listeners, store, announced, early)


def _opened_store(opened: contextlib.ExitStack) -> Store:
    from app.commands.data import opened_store  # noqa: PLC0415 - production embeds nothing

    store = opened_store()
    opened.callback(store.close)
    return store


def _listen(host: str, port: int, prefix: str = "") -> socket.socket:
    """Listen. ``prefix`` is the first part of the names of the settings for the host and the port."""
    try:
        listener = bound(host, port)
    except OSError as error:
        names = f"{prefix}PORT or {prefix}HOST"
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}. Set {names}.") from error
    listener.listen(2048)
    return listener
