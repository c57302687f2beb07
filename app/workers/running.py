"""Runs the supervisor, with the embedded platform that all workers share."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app import garbage
from app.audit_file import audit_logger
from app.logs import announce, log_everything, make_logger
from app.platform import open_issuer, open_platform
from app.settings import Settings
from app.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from app.embedded.store import Store


def run_workers(
    settings: Settings, listeners: Sequence[socket.socket], store: Store | None, announced: Callable[[Any], None]
) -> signal.Signals | None:
    """Run the workers until a signal arrives, and return the signal. Return ``None`` if no worker could start.

    Args:
        settings: the settings.
        listeners: the listening socket, and the socket for ``OPERATIONS_PORT`` if there is one.
        store: the embedded platform's data; ``None`` if the data is in memory.
        announced: announces the start, and is called with the log.
    """
    log = make_logger(settings.log_level)
    audit_logger(settings.audit_log)  # raises if the file cannot be opened, before any worker starts
    log_everything(log)
    announced(log)
    return asyncio.run(_run(settings, listeners, store, log))


async def _run(
    settings: Settings, listeners: Sequence[socket.socket], store: Store | None, log: Any
) -> signal.Signals | None:
    async with AsyncExitStack() as stack:
        platform = await open_platform(settings, stack, store)
        if settings.development_tokens:
            platform = replace(platform, issuer_url=(await open_issuer(stack)).url)
        garbage.settle()
        grace = settings.shutdown_grace_seconds
        ended_by = await Supervisor(settings.workers, listeners, platform, log, grace=grace).run()
    announce(log, "stopped", "All workers have stopped.")
    return ended_by
