"""The upstreams of all sides of a comparison: nginx serves AMS and Letta from static files.

nginx ignores most query parameters. The gateway reads Letta's list of agents, and the peers read each agent. The
records have equal content.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.processes import listening, needed
from bench.records import AGENTS, account, agent, agent_ids, messages, models, runs_and_steps
from bench.support import Running

PAGE = 100
"""The number of agents in a page of Letta's list."""

INSTALL = "install nginx and wrk, for example with apt-get install nginx wrk"

_CONF = """
worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; default_type application/json; open_file_cache max=5000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {http}
}}
"""

_REST = """
  server {{
    listen 127.0.0.1:{port} backlog=1024; root {folder};
    location = /ams/me {{ try_files /ams/me.json =404; }}
    location = /litellm/v1/models {{ try_files /litellm/v1/models.json =404; }}
    location = /ams/health {{ return 200 '{{"status":"ok","checks":{{}}}}'; }}
    location = /letta/v1/health/ {{ return 200 '{{"status":"ok"}}'; }}
    location = /letta/v1/agents/ {{ try_files /letta/v1/pages/after-$arg_after.json =404; }}
    location = /letta/v1/conversations/default/messages {{
      try_files /letta/v1/newest/$arg_agent_id.json =404;
    }}
    location ~ ^/letta/v1/agents/([^/]+)/?$ {{ try_files /letta/v1/agents/$1.json =404; }}
    location ~ ^/letta/v1/agents/([^/]+)/messages/?$ {{ try_files /letta/v1/agents/$1/messages.json =404; }}
    location ~ ^/letta/v1/(runs|steps)/([^/]+)$ {{ try_files /letta/v1/$1/$2.json =404; }}
  }}
"""


@asynccontextmanager
async def nginx(http: str, port: int, cores: set[int], folder: Path) -> AsyncIterator[Running]:
    """Run nginx until the context ends. Raises NotInstalled.

    Args:
        http: the content of the configuration's ``http`` block.
        port: the port on which ``http`` listens.
        cores: the CPU cores of the process.
        folder: the folder for the configuration and temporary files.
    """
    program = needed("nginx", INSTALL)
    conf = folder / "nginx.conf"
    conf.write_text(_CONF.format(folder=folder, http=http))
    command = (program, "-p", str(folder), "-e", str(folder / "nginx.err"), "-c", str(conf))
    async with listening(command, port, cores=cores, env=None) as running:
        yield running


@asynccontextmanager
async def rest(port: int, cores: set[int], agents: int = AGENTS) -> AsyncIterator[Running]:
    """Serve AMS, Letta and LiteLLM's models at ``/ams``, ``/letta`` and ``/litellm``, for one user's ``agents``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, agents)
        async with nginx(_REST.format(port=port, folder=folder), port, cores, folder) as running:
            yield running


@asynccontextmanager
async def forwarding(port: int, to: int, cores: set[int]) -> AsyncIterator[Running]:
    """Run nginx as a plain reverse proxy for the port ``to``, with keep-alive connections to the upstream."""
    http = f"""
  upstream model {{ server 127.0.0.1:{to}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header connection ""; proxy_buffering off;
    }}
  }}
"""
    with tempfile.TemporaryDirectory() as name:
        async with nginx(http, port, cores, Path(name)) as running:
            yield running


def _write(folder: Path, number: int) -> None:
    ids = agent_ids(number)
    found: dict[str, object] = {"ams/me": account(number), "litellm/v1/models": models()}
    for first in range(0, number, PAGE):
        after = ids[first - 1] if first else ""
        found[f"letta/v1/pages/after-{after}"] = [agent(one) for one in ids[first : first + PAGE]]
    found[f"letta/v1/pages/after-{ids[-1] if ids else ''}"] = []
    for one in ids:
        said = messages(one)
        found[f"letta/v1/agents/{one}"] = agent(one)
        found[f"letta/v1/agents/{one}/messages"] = said
        found[f"letta/v1/newest/{one}"] = said[::-1]
        found |= {f"letta/v1/{path}": record for path, record in runs_and_steps(one)}
    for path, value in found.items():
        file = folder / f"{path}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
