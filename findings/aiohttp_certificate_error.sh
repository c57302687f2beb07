#!/usr/bin/env bash
# aiohttp 3.14.5's certificate error is an ssl.SSLCertVerificationError without that class's attributes.
#
# Guess before it was run: `except ssl.SSLCertVerificationError as error` around an aiohttp request gets an error whose
# verify_message and verify_code say why the certificate was refused, as with asyncio and http.client.
# Seen: aiohttp raises ClientConnectorCertificateError. It is an SSLCertVerificationError, but it is built without the
# base class's arguments, so reading verify_message or verify_code raises AttributeError. The attributes are on
# `certificate_error`. A handler that reads the cause for a log line or a health check fails inside the handler.
#
# Output seen: "isinstance True, verify_message missing, verify_code missing, certificate_error: self-signed certificate".
# Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aiohttp==3.14.5
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem -out cert.pem \
  -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
cat > try.py <<'PY'
import asyncio
import ssl

import aiohttp
from aiohttp import web


async def main() -> None:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain("cert.pem", "key.pem")
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own).start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:
        try:
            await session.get(f"https://localhost:{port}/")
        except aiohttp.ClientConnectorCertificateError as error:
            names = ("verify_message", "verify_code")
            seen = [f"{name} {'present' if hasattr(error, name) else 'missing'}" for name in names]
            kind = isinstance(error, ssl.SSLCertVerificationError)
            inner = error.certificate_error
            print(f"isinstance {kind}, {', '.join(seen)}, certificate_error: {inner.verify_message}")
    await runner.cleanup()


asyncio.run(main())
PY
got=$(venv/bin/python try.py)
echo "$got"
[ "$got" = "isinstance True, verify_message missing, verify_code missing, certificate_error: self-signed certificate" ]
