"""Letta's App Server on loopback, with recorded answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.oddserver import Scripted, odd_server
from tests.support.samples import Sample, samples

HEALTH, INFO = "/v1/health/", "/app-server-info"


@dataclass
class AppServer:
    """A running App Server. ``asked`` has the method and path of each request."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@asynccontextmanager
async def app_server(*, guarded: bool = False) -> AsyncIterator[AppServer]:
    """Serve what an App Server has answered; ``guarded`` is one that requires another token than the gateway's."""
    recorded = {sample.name: sample for sample in samples("letta-app-server")}
    info, absent = recorded["info_guarded" if guarded else "info"], recorded["health_guarded" if guarded else "health"]
    running = AppServer()

    def answer(method: str, path: str, _: bytes) -> Scripted:
        running.asked.append(f"{method} {path}")
        return Scripted(raw=raw(info if path == INFO else absent))

    async with odd_server(answer) as running.url:
        yield running


def raw(sample: Sample) -> bytes:
    """Return the bytes of a recorded answer."""
    headers = {**sample.headers, "content-length": str(len(sample.body))}
    headers.pop("transfer-encoding", None)
    head = [f"HTTP/1.1 {sample.status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(head).encode("latin-1") + sample.body
