#!/usr/bin/env bash
# uvicorn 0.54.0 with websockets 17.4 (--ws websockets-sansio) logs an error for each WebSocket handshake that an
# application refuses with an HTTP response (ASGI extension websocket.http.response), although the client receives the
# complete response.
#
# Guess before it was run: the log has lines of the level INFO with the status 403, as for HTTP requests, and no error.
# Seen: "ASGI callable returned without completing handshake." The protocol marks a handshake as complete only if the
# application accepts it or closes the connection.
#
# Output seen: "client: 403 no", then the error above. The guess was an empty list of errors. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check uvicorn==0.54.0 websockets==17.4
cat > attempt.py <<'PY'
import asyncio
import logging
import socket

import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

lines = []


class Lines(logging.Handler):
    def emit(self, record):
        lines.append((record.levelname, record.getMessage()))


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.http.response.start", "status": 403, "headers": [(b"content-length", b"2")]})
        await send({"type": "websocket.http.response.body", "body": b"no"})


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, ws="websockets-sansio", lifespan="off", log_config=None)
    logging.getLogger("uvicorn.error").addHandler(Lines())
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        async with connect(f"ws://127.0.0.1:{listener.getsockname()[1]}"):
            pass
    except InvalidStatus as error:
        print("client:", error.response.status_code, error.response.body.decode())
    server.should_exit = True
    await serving
    print("errors:", [text for level, text in lines if level == "ERROR"])


asyncio.run(main())
PY
seen=$(venv/bin/python attempt.py)
echo "$seen"
[ "$seen" = $'client: 403 no\nerrors: [\'ASGI callable returned without completing handshake.\']' ]
