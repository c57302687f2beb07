#!/usr/bin/env bash
# letta-client 1.12.1 sends a message to an agent three times if Letta answers with 500.
#
# Guess before it was run: agents.messages.create is not idempotent, so the client repeats it only if the request has not
# reached Letta, or sends a header by which Letta recognises the repetition.
# Seen: the client repeats the POST twice after 500 (by its source also after 408, 409, 429 and a lost connection), with the
# same body and without an idempotency header. Letta answers with 500 if a model call fails in the middle of a turn: each
# repetition is a new message, and starts a new turn that calls the model.
#
# Output seen: "3 requests, 1 body, otid: no, idempotency header: no". Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check letta-client==1.12.1
cat > "$folder/try.py" <<'PY'
import http.server
import json
import threading

from letta_client import InternalServerError, Letta

requests = []


class Failing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        requests.append((self.rfile.read(int(self.headers["content-length"])), dict(self.headers)))
        body = json.dumps({"error": {"type": "llm_error", "message": "An error occurred with the LLM request."}}).encode()
        self.send_response(500)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = Letta(base_url=f"http://127.0.0.1:{server.server_port}", api_key="none")
try:
    client.agents.messages.create("agent-1", messages=[{"role": "user", "content": "Order one pizza."}])
except InternalServerError:
    pass
bodies = {body for body, _ in requests}
otid = any(message.get("otid") for body in bodies for message in json.loads(body)["messages"])
header = any("idempotency" in name.lower() for _, headers in requests for name in headers)
said = {False: "no", True: "yes"}
print(f"{len(requests)} requests, {len(bodies)} body, otid: {said[otid]}, idempotency header: {said[header]}")
server.shutdown()
PY
seen=$("$folder/venv/bin/python" "$folder/try.py")
echo "$seen"
[ "$seen" = "3 requests, 1 body, otid: no, idempotency header: no" ]
