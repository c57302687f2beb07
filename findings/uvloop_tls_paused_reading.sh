#!/usr/bin/env bash
# uvloop 0.23.0 drops received TLS data if a protocol has paused reading while the peer closes TCP without a closure
# alert, and reports no error. An HTTP answer with Content-Length is complete without the alert (RFC 9112, 9.8).
#
# Guess before it was run: the protocol gets all bytes after resume_reading, and then the end, as with asyncio.
# Seen: asyncio delivers 300,000 bytes and calls eof_received. uvloop delivers a part of them, does not call
# eof_received, and calls connection_lost(None), as after an orderly end. If the peer sends the alert, both deliver all.
#
# Output seen: "asyncio all True None", "uvloop part False None". Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check uvloop==0.23.0 trustme==1.2.1
cat > attempt.py <<'PY'
import asyncio
import socket
import ssl
import threading

import trustme
import uvloop

SIZE = 300_000
ca = trustme.CA()
at_server, at_client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
ca.issue_cert("localhost").configure_cert(at_server)
ca.configure_trust(at_client)


def answer(listener):
    connection = at_server.wrap_socket(listener.accept()[0], server_side=True)
    connection.recv(16)
    connection.sendall(b"x" * SIZE)
    connection.close()  # ends TCP without a closure alert


class Paused(asyncio.Protocol):
    def __init__(self):
        self.received, self.ended = 0, False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"go")

    def data_received(self, data):
        if not self.received:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.5, self.transport.resume_reading)
        self.received += len(data)

    def eof_received(self):
        self.ended = True

    def connection_lost(self, error):
        self.lost.set_result(error)


async def main(name):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=answer, args=(listener,), daemon=True).start()
    _, protocol = await asyncio.get_running_loop().create_connection(
        Paused, *listener.getsockname(), ssl=at_client, server_hostname="localhost"
    )
    error = await asyncio.wait_for(protocol.lost, 10)
    print(name, "all" if protocol.received == SIZE else "part", protocol.ended, error)


for name, loop in {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}.items():
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main(name))
PY
seen=$(venv/bin/python attempt.py)
echo "$seen"
[ "$seen" = $'asyncio all True None\nuvloop part False None' ]
