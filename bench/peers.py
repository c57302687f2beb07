"""The peers: alternatives to the gateway, which run side by side with the gateway.

The peers' sources are in ``PEERS_DIR``. The first run copies the sources to a cache folder, and installs them there. If
a peer is not installed, the scenario runs without the peer, and prints its name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import listening
from bench.support import CACHE, ROOT, Running

REST_PORT, MODEL_PORT = 9100, 9300
"""The ports of the upstreams. The peers' sources contain these ports."""

PYTHON_PACKAGES = (
    "strawberry-graphql",
    "fastapi",
    "uvicorn[standard]",
    "httpx",
    "httpx-aiohttp",
    "aiohttp",
    "uvloop",
    "orjson",
)


@dataclass(frozen=True)
class Peer:
    """A program to compare with.

    Attributes:
        name: the name in tables.
        port: the port on which the peer listens.
        command: the command that starts the peer. ``{bin}`` is the folder of the peers' Python programs.
        needs: a file in the peers' folder that exists if the peer is installed.
        env: the environment variables of the process.
        folder: the working directory, relative to the peers' folder.
        prepare: for each file that the peer needs, by name, the command that prints the file's content.
    """

    name: str
    port: int
    command: Sequence[str]
    needs: str
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = "."
    prepare: Mapping[str, Sequence[str]] = field(default_factory=dict)


def _uvicorn(app: str, port: int) -> Sequence[str]:
    options = ("--port", str(port), "--log-level", "error", "--no-access-log")
    return ("{bin}/uvicorn", app, *options)


_MESH = "supergraph.graphql"
YOGA = Peer("yoga", 9201, ("node", "yoga.mjs"), "node_modules/graphql-yoga", {"PORT": "9201"})
YOGA_JIT = Peer("yoga + JIT", 9203, ("node", "yoga.mjs"), "node_modules/graphql-jit", {"PORT": "9203", "JIT": "1"})
MERCURIUS_JIT = Peer(
    "mercurius + JIT", 9202, ("node", "mercurius.mjs"), "node_modules/mercurius", {"PORT": "9202", "JIT": "1"}
)
HIVE = Peer(
    "Hive Gateway",
    9210,
    ("node", "../node_modules/.bin/hive-gateway", "supergraph", f"./{_MESH}", "--port", "9210", "--fork", "1"),
    "node_modules/.bin/hive-gateway",
    {"NODE_ENV": "production", "LOG_LEVEL": "error"},
    "hive",
    {_MESH: ("node", "../node_modules/.bin/mesh-compose")},
)
STRAWBERRY = Peer("Strawberry + httpx", 9204, _uvicorn("strawberry_plain:app", 9204), "../venv/bin/strawberry")
BARE = Peer("bare ASGI + aiohttp", 9305, _uvicorn("passthrough_bare:app", 9305), "../venv/bin/uvicorn")
PORTKEY = Peer(
    "Portkey",
    9302,
    ("node", "node_modules/@portkey-ai/gateway/build/start-server.js", "--port=9302", "--headless"),
    "node_modules/@portkey-ai/gateway/build/start-server.js",
    {"NODE_ENV": "production"},
)
LITELLM = Peer(
    "LiteLLM proxy",
    9303,
    (os.environ.get("LITELLM", "{bin}/litellm"), "--config", "litellm.yaml", "--port", "9303", "--host", "127.0.0.1"),
    os.environ.get("LITELLM", "../venv/bin/litellm"),
)
NGINX_PORT = 9304


class Peers:
    """Installs and runs the peers.

    Attributes:
        missing: a message for each peer that cannot run, with the reason.
        found: the peers that can run.
    """

    def __init__(self) -> None:
        self.source = ROOT / os.environ.get("PEERS_DIR", "../shared/peers")
        self.cache = CACHE
        self.folder = self.cache / "peers"
        self.missing: list[str] = []
        self.found: list[Peer] = []

    @property
    def exist(self) -> bool:
        """Return whether ``PEERS_DIR`` has the peers' sources."""
        return (self.source / "package.json").exists()

    def available(self, wanted: Sequence[Peer]) -> list[Peer]:
        """Install the peers at the first use. Return the peers of ``wanted`` that can run."""
        if not self.exist:
            self.missing = [f"not run, because PEERS_DIR has no peers: {', '.join(one.name for one in wanted)}"]
            return []
        self._install()
        self.found = [one for one in wanted if (self.folder / one.needs).exists()]
        self.missing = [f"not run, because it is not installed: {one.name}" for one in wanted if one not in self.found]
        return self.found

    @asynccontextmanager
    async def running(self, peer: Peer, cores: set[int]) -> AsyncIterator[Running]:
        """Run a peer until the context ends."""
        folder = (self.folder / peer.folder).resolve()
        _prepare(peer, folder)
        programs = (self.cache / "venv" / "bin").resolve()
        command = [part.replace("{bin}", str(programs)) for part in peer.command]
        async with listening(command, peer.port, cores=cores, folder=folder, env=peer.env) as running:
            yield running

    def _install(self) -> None:
        done = self.cache / ".installed"
        if done.exists() and done.stat().st_mtime >= (self.source / "package.json").stat().st_mtime:
            return
        print("Installing the peers. This takes about a minute.", file=sys.stderr, flush=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.source, self.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        if shutil.which("npm") is not None:
            _quietly("npm", "install", "--no-audit", "--no-fund", folder=self.folder)
        _quietly(sys.executable, "-m", "venv", str(self.cache / "venv"), folder=self.cache)
        _quietly(str(self.cache / "venv/bin/pip"), "install", "--quiet", *PYTHON_PACKAGES, folder=self.cache)
        done.touch()


def _prepare(peer: Peer, folder: Path) -> None:
    """Create the files that a peer reads, unless the files exist."""
    for name, command in peer.prepare.items():
        if not (folder / name).exists():
            made = subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)
            (folder / name).write_bytes(made.stdout)


def _quietly(*command: str, folder: Path) -> None:
    """Run a command. If it fails, print the end of its output: the peers that are there can still run."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        print(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-1000:]}", file=sys.stderr)
