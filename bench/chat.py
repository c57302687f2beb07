"""Compares chat completions through the gateway and through the peers, with the same model."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import orjson

from bench.compare import Compared, Load, Side, compare
from bench.gateways import compared
from bench.load import Request
from bench.peers import LITELLM, MODEL_PORT, NGINX_PORT, Peer, Peers
from bench.processes import NotInstalled, free_port, listening
from bench.rest import forwarding, rest
from bench.streamload import closed_loop
from bench.support import ROOT, Options, Running, apart_on, token

OURS = "gateway"
DIRECT = "no gateway"
NGINX = "nginx proxy_pass"
SECONDS = 5.0

_PORTKEY = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{MODEL_PORT}/v1"}
_NONE: Mapping[str, str] = {}
_LITELLM_KEY = "sk-peer-master-0123456789abcdef0123456789"


def request(key: str, tokens: int, *, stream: bool, headers: Mapping[str, str] | None = None) -> Request:
    """Return the request for a completion of ``tokens`` tokens, which the model sends without pauses."""
    messages = [{"role": "user", "content": "hello " * 50}]
    body = orjson.dumps({"model": f"n{tokens}-d0", "stream": stream, "messages": messages})
    made = Request.post("/v1/chat/completions", body, key)
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return replace(made, raw=made.raw.replace(b"\r\n\r\n", f"\r\n{extra}\r\n".encode(), 1))


class Sides:
    """The running servers of a comparison of completions."""

    def __init__(self, stack: AsyncExitStack, options: Options) -> None:
        self._stack, self._options = stack, options
        self._servers: list[tuple[str, Running, str, Mapping[str, str]]] = []
        self.peers = Peers()

    async def start(self, wanted: list[Peer]) -> None:
        """Start the model, the gateway, nginx and the peers that are available."""
        cores, enter = self._options.cores, self._stack.enter_async_context
        found = self.peers.available(wanted)
        behind = await enter(rest(free_port(), cores.others()))
        self._model = model = await enter(_model(self.peers, cores.others()))
        served = await enter(compared(behind, self._options, cache=True, LITELLM_BASE_URL=model.url))
        self._servers.append((OURS, served, token(), {}))
        for peer in found:
            key = _LITELLM_KEY if peer is LITELLM else "sk-bench"
            headers = _PORTKEY if peer.name == "Portkey" else {}
            self._servers.append((peer.name, await enter(self.peers.running(peer, cores.server())), key, headers))
        try:
            proxy = await enter(forwarding(NGINX_PORT, model.port, cores.server()))
        except NotInstalled as missing:
            self.peers.missing.append(f"not run: {NGINX}: {missing}")
        else:
            self._servers.append((NGINX, proxy, "sk-bench", {}))

    async def compared(self, tokens: int, clients: int, *, stream: bool, direct: bool = False) -> Compared:
        """Compare completions of ``tokens`` tokens, requested by ``clients`` clients.

        If ``direct`` is true, also measure the model without a gateway.
        """
        servers = [*self._servers, *([(DIRECT, self._model, "sk-bench", _NONE)] if direct else [])]
        sides = [
            Side(name, server, self._load(request(key, tokens, stream=stream, headers=headers), clients), name == OURS)
            for name, server, key, headers in servers
        ]
        return await compare(sides, self._options)

    def _load(self, asked: Request, clients: int) -> Load:
        seconds, cores = self._options.seconds or SECONDS, self._options.cores.others()

        async def load(server: Running) -> dict[str, float]:
            return await apart_on(cores, closed_loop, server.port, asked, clients, seconds)

        return load


@asynccontextmanager
async def _model(peers: Peers, cores: set[int]) -> AsyncIterator[Running]:
    """Run the model that all sides call: the peers' mock, or ``bench.upstreams`` if no peer is available."""
    command = [sys.executable, "-m", "bench.upstreams", str(MODEL_PORT)]
    if peers.found:
        command = [sys.executable, str(peers.folder / "sse_upstream.py"), str(MODEL_PORT)]
    async with listening(command, MODEL_PORT, cores=cores, env={"PYTHONPATH": str(ROOT)}) as running:
        yield running
