#!/usr/bin/env bash
# uvloop 0.23.0 accepts one waiting connection in each iteration of its event loop.
#
# Guess before it was run: an iteration accepts every connection that waits, as asyncio's own loop does up to the backlog;
# a burst of connections is in hands after an iteration or two.
# Seen: of forty connections that wait, each iteration accepts one. Where an iteration takes 50 ms of callbacks, the last
# of forty waits two seconds before its first byte is read, a health check among them, while connections that are open
# already are served in every iteration. asyncio's loop accepts all forty in one.
#
# Output seen: "asyncio: 40 connections in 1 to 3 iterations. uvloop: 40 connections in 40 or more." Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check uvloop==0.23.0
cat > try.py <<'PY'
import asyncio
import socket

import uvloop

CONNECTIONS = 40


async def iterations():
    loop, made = asyncio.get_running_loop(), []
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport):
            made.append(transport)

    waiting = [socket.create_connection(listener.getsockname()) for _ in range(CONNECTIONS)]
    server = await loop.create_server(Accepted, sock=listener)
    count = 0
    while len(made) < CONNECTIONS:
        await asyncio.sleep(0)
        count += 1
    for one in waiting:
        one.close()
    server.close()
    return count


def tried(new_loop):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(iterations())


plain, fast = tried(asyncio.new_event_loop), tried(uvloop.new_event_loop)
print(f"{plain} and {fast} iterations")
print(f"asyncio: {CONNECTIONS} connections in {'1 to 3' if plain <= 3 else plain} iterations. "
      f"uvloop: {CONNECTIONS} connections in {'40 or more' if fast >= CONNECTIONS else fast}.")
PY
venv/bin/python try.py | tee seen
[ "$(tail -1 seen)" = "asyncio: 40 connections in 1 to 3 iterations. uvloop: 40 connections in 40 or more." ]
