"""A loopback server that answers with recorded samples, and the gateway's clients in front of it."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.embedded.server import LoopbackServer
from app.logs import make_logger
from app.telemetry import Telemetry
from clients.calls import CallScope, UpstreamLimits
from clients.http.transport import HttpTransport
from clients.letta.client import Letta
from clients.litellm import LiteLLM
from clients.upstream import Upstream
from tests.support.samples import Sample

_HOP = {"content-length", "transfer-encoding", "connection", "date", "server"}
_SECONDS = 10.0


class Replay:
    """The gateway's clients in front of recorded answers."""

    def __init__(self, url: str, transport: HttpTransport, answers: list[Sample], asked: list[str]) -> None:
        self._url = url
        self._transport = transport
        self._answers = answers
        self.asked = asked

    def answer(self, *answers: Sample) -> None:
        """Answer each call with the next of these. The clients are new, with closed breakers."""
        self._answers[:], self.asked[:] = answers, []
        self.letta, self.litellm = Letta(self._upstream(Letta)), LiteLLM(self._upstream(LiteLLM))

    def _upstream(self, client: type[Letta | LiteLLM]) -> Upstream:
        telemetry = Telemetry(make_logger("CRITICAL", io.StringIO()))
        return Upstream(
            client.service,
            self._url,
            translate=client.translate,
            headers={},
            limits=UpstreamLimits(),
            observer=telemetry,
            transport=self._transport,
        )

    @property
    def scope(self) -> CallScope:
        return CallScope("request-1", time.monotonic() + _SECONDS)


@asynccontextmanager
async def replayed() -> AsyncIterator[Replay]:
    answers: list[Sample] = []
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        answer = answers[len(asked)]
        asked.append(f"{scope['method']} {scope['path']}")
        response = Response(answer.body, answer.status)
        for name, value in answer.headers.items():
            if name not in _HOP:
                response.headers[name] = value
        await response(scope, receive, send)

    server, transport = LoopbackServer(app), HttpTransport()
    await server.start()
    try:
        yield Replay(server.url, transport, answers, asked)
    finally:
        await transport.aclose()
        await server.stop()
