#!/usr/bin/env bash
# langchain-openai 1.7.4 with openai 3.57.0 does not recognise OpenAI's own context overflow.
#
# Guess before it was run: ChatOpenAI.invoke raises ContextOverflowError for a 400 with code "context_length_exceeded" and
# OpenAI's message, since langchain-openai looks for that code.
# Seen: it raises OpenAIInvalidRequestError. langchain-openai searches str(error) for the code, and openai 3 no longer
# puts the body into str(error): it is the status and the message. Code that shortens a conversation on
# ContextOverflowError does not start. The words "prompt is too long" in the message are recognised.
#
# Output seen: "OpenAIInvalidRequestError ContextOverflowError". Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-openai==1.7.4 openai==3.57.0
cat > "$folder/try.py" <<'PY'
import http.server
import json
import threading

from langchain_openai import ChatOpenAI

OPENAIS_WORDS = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. "
    "Please reduce the length of the messages."
)


class Overflow(http.server.BaseHTTPRequestHandler):
    words = ""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        error = {"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
        body = json.dumps({"error": {"message": Overflow.words, **error}}).encode()
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Overflow)
threading.Thread(target=server.serve_forever, daemon=True).start()
model = ChatOpenAI(
    model="gpt-4o-mini",
    base_url=f"http://127.0.0.1:{server.server_port}/v1",
    api_key="none",
    max_retries=0,
    use_responses_api=False,
)
for Overflow.words in (OPENAIS_WORDS, f"{OPENAIS_WORDS} The prompt is too long."):
    try:
        model.invoke("hi")
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        print("ContextOverflowError" if "ContextOverflowError" in names else names[0], end=" ")
server.shutdown()
PY
seen=$("$folder/venv/bin/python" "$folder/try.py" | xargs)
echo "$seen"
[ "$seen" = "OpenAIInvalidRequestError ContextOverflowError" ]
