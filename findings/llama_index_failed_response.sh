#!/usr/bin/env bash
# llama-index 0.8.3 and instructor 1.17.0 end a stream of OpenAI's Responses API without an error if the response fails.
#
# Guess before it was run: a stream that ends with the event response.failed raises an error, as a stream of chat completions
# does for an event {"error": …}, since OpenAI documents response.failed as the end of a response that has failed.
# Seen: OpenAIResponses.stream_chat yields the text that arrived before, and ends. Partial answers of instructor do the same.
# A program takes half an answer for the whole answer. Neither library looks at the event, and openai-python yields it like
# any other event. The event "error", which ends a stream without a response, raises in openai-python.
#
# Output seen: "llama-index: 'Take the' no error; instructor: 'Take the' no error". Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llama-index-llms-openai==0.8.3 instructor==1.17.0 openai==2.54.0
cat > "$folder/try.py" <<'PY'
import http.server
import json
import threading

import instructor
import openai
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAIResponses
from pydantic import BaseModel


class Advice(BaseModel):
    text: str


def response(status, error=None):
    fixed = {"object": "response", "created_at": 0, "model": "gpt-4o-mini", "output": [], "tools": [], "tool_choice": "auto"}
    return {"id": "resp_1", **fixed, "status": status, "error": error, "parallel_tool_calls": True}


def events(is_tool):
    where = {"item_id": "item_1", "output_index": 0}
    yield "response.created", {"response": response("in_progress")}
    if is_tool:
        item = {"type": "function_call", "id": "item_1", "call_id": "call_1", "name": "Advice", "arguments": ""}
        yield "response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress"}}
        yield "response.function_call_arguments.delta", {**where, "delta": '{"text": "Take the'}
    else:
        yield "response.output_text.delta", {**where, "content_index": 0, "delta": "Take the", "logprobs": []}
    yield "response.failed", {"response": response("failed", {"code": "server_error", "message": "The model failed."})}


class Failing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for number, (kind, fields) in enumerate(events("tool_choice" in asked and asked["tool_choice"] != "auto")):
            data = json.dumps({"type": kind, "sequence_number": number, **fields})
            self.wfile.write(f"event: {kind}\ndata: {data}\n\n".encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v1"


def llama_index():
    model = OpenAIResponses(model="gpt-4o-mini", api_base=url, api_key="none")
    return [part.delta or "" for part in model.stream_chat([ChatMessage(role="user", content="hi")])]


def partial():
    client = instructor.from_openai(openai.OpenAI(base_url=url, api_key="none"), mode=instructor.Mode.RESPONSES_TOOLS)
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    *_, last = client.create_partial(**asked, response_model=Advice)
    return [last.text]


def tried(read):
    try:
        return f"{''.join(read())!r} no error"
    except Exception as error:
        return type(error).__name__


print(f"llama-index: {tried(llama_index)}; instructor: {tried(partial)}")
server.shutdown()
PY
seen=$("$folder/venv/bin/python" "$folder/try.py")
echo "$seen"
[ "$seen" = "llama-index: 'Take the' no error; instructor: 'Take the' no error" ]
