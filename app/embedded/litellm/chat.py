"""The routes of completions and embeddings. A deterministic model answers the requests."""

from __future__ import annotations

import asyncio
import struct
import time
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import orjson
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.embedded.litellm.answers import Refused, Routes, body_of, invalid, ok, unless_disconnected
from app.embedded.litellm.calling import Calls, calls_of
from app.embedded.litellm.checks import check_completion, check_safe
from app.embedded.litellm.keys import Keys
from app.embedded.litellm.spend import Call, Ledger
from app.embedded.model import Answer, ModelFailure, answer_to, counted, generate, instance_of
from app.embedded.state import Json, State
from app.embedded.vectors import embed, words

_FAILURES = {
    "400": (400, "invalid_request_error"),
    "401": (401, "authentication_error"),
    "404": (404, "invalid_request_error"),
    "ctx": (400, "invalid_request_error"),
    "429": (429, "throttling_error"),
    "500": (500, "internal_server_error"),
    "503": (503, "internal_server_error"),
}
_MODEL_FAILED = (
    "litellm.InternalServerError: InternalServerError: OpenAIException - The server had an error\n\n"
    "LiteLLM: model group failed with the error above. No fallback was attempted."
)
_CONTEXT = (
    "litellm.ContextWindowExceededError: This model's maximum context length is 8192 tokens.\n\n"
    "LiteLLM: model group failed with the error above. No fallback was attempted."
)
_CUT = "litellm.APIConnectionError: Response payload is not completed"
DIMENSIONS = 1536
MAX_DIMENSIONS = 4096


@dataclass(frozen=True)
class Reply:
    """An answer as text or tool calls. ``finish`` is the finish reason."""

    answer: Answer
    finish: str
    calls: Calls | None = None

    @property
    def tokens(self) -> int:
        """The number of completion tokens in the reply."""
        if self.calls is None:
            return len(self.answer.words)
        return sum(len(words(call.arguments)) for call in self.calls.calls)


class Sent:
    """The deltas that a client has received before it disconnects. The client pays for their tokens."""

    def __init__(self) -> None:
        self._text = self._reasoning = ""
        self._calls: dict[int, Json] = {}

    def add(self, delta: Json) -> Json:
        """Add a delta, and return the delta."""
        self._text += delta.get("content") or ""
        self._reasoning += delta.get("reasoning_content") or ""
        for piece in delta.get("tool_calls") or []:
            call = self._calls.setdefault(piece["index"], {"function": {"arguments": "", "name": None}, "id": None})
            call["id"] = call["id"] or piece.get("id")
            call["function"]["name"] = call["function"]["name"] or piece["function"].get("name")
            call["function"]["arguments"] += piece["function"]["arguments"]
        return delta

    @property
    def tokens(self) -> int:
        """The number of tokens."""
        calls = [orjson.dumps({**call, "type": "function"}).decode() for call in self._calls.values()]
        return counted(self._text + "".join(calls)) + counted(self._reasoning)


class Chat:
    """The routes that call a model."""

    def __init__(self, state: State, keys: Keys, ledger: Ledger, *, words_per_second: float) -> None:
        self._state = state
        self._keys = keys
        self._ledger = ledger
        self._words_per_second = words_per_second

    def routes(self) -> Routes:
        """Return the routes."""
        return [
            ("POST", "/v1/chat/completions", self._chat),
            ("POST", "/chat/completions", self._chat),
            ("POST", "/v1/embeddings", self._embeddings),
            ("POST", "/embeddings", self._embeddings),
            ("POST", "/utils/token_counter", self._count),
        ]

    async def _chat(self, request: Request, record: Json) -> Response:
        body = await body_of(request)
        call = self._admit(record, body, "/chat/completions", "acompletion")
        check_completion(body)
        reply = _reply(body, answer_to(body["messages"], words_per_second=self._words_per_second))
        if body.get("stream"):
            wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return await unless_disconnected(request, self._streamed(call, reply, wants_usage=wants_usage))
        return await unless_disconnected(request, self._whole(call, reply))

    def _admit(self, record: Json, body: Json, path: str, kind: str) -> Call:
        check_safe(body)
        model = body.get("model")
        named = record["info"]["models"]
        if isinstance(model, str) and named and model not in named:
            text = (
                f"The requested model '{model}' is not available for this API key, or the model name is invalid. "
                "Check the models available to you and try again."
            )
            raise Refused(403, "key_model_access_denied", text, param="model")
        if not isinstance(model, str) or model not in self._state.models:
            raise invalid(
                f"{path}: Invalid model name passed in model={model}. "
                "Call `/v1/models` to view available models for your key."
            )
        self._keys.admit(record)
        return Call(record, model, kind, str(body.get("user") or ""))

    async def _whole(self, call: Call, reply: Reply) -> Response:
        try:
            text = "".join([word async for word in generate(reply.answer, self._state.stats)])
        except ModelFailure as failure:
            raise self._failed(call, failure) from failure
        message: Json = {"content": None if reply.calls else text, "role": "assistant"}
        if reply.calls:
            message |= reply.calls.message()
        if reply.answer.reasoning:
            message["reasoning_content"] = reply.answer.reasoning
        cost = self._ledger.settle(call, reply.answer.prompt_tokens, reply.tokens)
        completion = {
            **_frame(call.model, "chat.completion"),
            "choices": [{"finish_reason": reply.finish, "index": 0, "message": message}],
            "usage": _usage(call.model, reply),
        }
        return ok(completion, self._headers(call, cost))

    async def _streamed(self, call: Call, reply: Reply, *, wants_usage: bool) -> Response:
        generated = generate(reply.answer, self._state.stats)
        try:
            first = await anext(generated, "")
        except ModelFailure as failure:
            raise self._failed(call, failure) from failure
        return StreamingResponse(
            self._events(call, reply, first, generated, wants_usage=wants_usage),
            media_type="text/event-stream",
            headers=self._headers(call, 0.0),
            background=BackgroundTask(generated.aclose),  # type: ignore[attr-defined]
        )

    async def _events(
        self, call: Call, reply: Reply, first: str, generated: AsyncIterator[str], *, wants_usage: bool
    ) -> AsyncIterator[bytes]:
        frame = _frame(call.model, "chat.completion.chunk")
        tokens, failed, sent = None, False, Sent()
        try:
            for delta in _opening(reply):
                yield _chunk(frame, sent.add(delta))
            if reply.calls is None:
                yield _chunk(frame, sent.add({"content": first}))
            async for word in generated:
                if reply.calls is None:
                    yield _chunk(frame, sent.add({"content": word}))
            tokens = reply.tokens
            yield _chunk(frame, {}, choice={"finish_reason": reply.finish})
            if wants_usage:
                cost = sum(self._ledger.cost(call.model, reply.answer.prompt_tokens, tokens))
                yield _chunk(frame, {}, usage={**_usage(call.model, reply), "cost": cost})
            yield b"data: [DONE]\n\n"
        except ModelFailure:
            failed = True
            error = {"message": _CUT, "type": None, "param": None, "code": "500"}
            yield b"data: " + orjson.dumps({"error": error}) + b"\n\n"
        finally:
            tokens = sent.tokens if tokens is None else tokens
            self._ledger.settle(call, reply.answer.prompt_tokens, tokens, failed=failed)
            await generated.aclose()  # type: ignore[attr-defined]

    def _failed(self, call: Call, failure: ModelFailure) -> Refused:
        self._ledger.settle(call, 0, 0, failed=True)
        status, kind = _FAILURES.get(failure.kind, (500, "internal_server_error"))
        text = _CONTEXT if failure.kind == "ctx" else _MODEL_FAILED
        return Refused(status, kind, text, headers={"llm_provider-retry-after": "2"} if status == 429 else {})

    def _headers(self, call: Call, cost: float) -> dict[str, str]:
        return {
            "x-litellm-call-id": call.id,
            "x-litellm-model-id": f"{call.model}-id",
            "x-litellm-model-name": f"openai/{call.model}",
            "x-litellm-version": "1.106.2",
            "x-litellm-model-group": call.model,
            "x-litellm-response-cost": str(cost),
            **self._keys.headers(call.record),
        }

    async def _count(self, request: Request, _: Json) -> Response:
        """Count the tokens of a text or of messages, as for the bill of a client that disconnects."""
        body = await body_of(request)
        text, messages, model = body.get("prompt"), body.get("messages"), body.get("model")
        if not isinstance(text, str) and not isinstance(messages, list):
            raise Refused(400, "None", "prompt or messages or contents must be provided", param="None")
        tokens = counted(text) if isinstance(text, str) else answer_to(messages or [], words_per_second=1).prompt_tokens
        return ok({"total_tokens": tokens, "request_model": model, "model_used": model})

    async def _embeddings(self, request: Request, record: Json) -> Response:
        body = await body_of(request)
        call = self._admit(record, body, "/embeddings", "aembedding")
        source = body.get("input")
        texts = [source] if isinstance(source, str) or _is_tokens(source) else source
        dimensions = body.get("dimensions") or DIMENSIONS
        if not isinstance(texts, list):
            raise invalid("/embeddings: Missing required parameter: 'input'.", "input")
        if not isinstance(dimensions, int) or not 0 < dimensions <= MAX_DIMENSIONS:
            raise invalid(f"/embeddings: dimensions must be from 1 to {MAX_DIMENSIONS}.")
        coded = body.get("encoding_format") == "base64"
        vectors = []
        for text in texts:
            vectors.append(embed(text if isinstance(text, str) else str(text), dimensions))
            await asyncio.sleep(0)  # one vector can take milliseconds
        data = [
            {"embedding": _base64(vector) if coded else vector, "index": index, "object": "embedding"}
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(len(text) if _is_tokens(text) else max(1, len(words(str(text)))) for text in texts)
        cost = self._ledger.settle(call, tokens, 0)
        usage = {"completion_tokens": 0, "prompt_tokens": tokens, "total_tokens": tokens}
        details = dict.fromkeys(("completion_tokens_details", "prompt_tokens_details"))
        answer = {"model": call.model, "data": data, "object": "list", "usage": {**usage, **details}}
        return ok(answer, self._headers(call, cost))


def _reply(body: Json, answer: Answer) -> Reply:
    """Return the reply in the requested form: tool calls, JSON or text, within the token limit."""
    if (calls := calls_of(body, answer)) is not None:
        return Reply(replace(answer, text=""), calls.finish, calls)
    form = body.get("response_format") or {}
    if form.get("type") == "json_object":
        answer = replace(answer, text=orjson.dumps({"answer": answer.text}).decode())
    elif form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema")
        answer = replace(answer, text=orjson.dumps(instance_of(schema, answer.text)).decode())
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and 0 < limit < len(answer.words):
        return Reply(replace(answer, text="".join(answer.words[:limit])), "length")
    return Reply(answer, "stop")


def _opening(reply: Reply) -> list[Json]:
    """Return the deltas before the text: the role, the reasoning, and the calls."""
    if reply.calls is not None:
        return [{"role": "assistant"}, *reply.calls.deltas()]
    thought = [{"reasoning_content": reply.answer.reasoning}] if reply.answer.reasoning else []
    return [{"content": "", "role": "assistant"}, *thought]


def _chunk(frame: Json, delta: Json, *, choice: Json | None = None, **more: object) -> bytes:
    one = {**(choice or {}), "index": 0, "delta": delta}
    return b"data: " + orjson.dumps({**frame, "choices": [one], **more}) + b"\n\n"


def _frame(model: str, kind: str) -> Json:
    return {"id": f"chatcmpl-{uuid.uuid4().hex[:20]}", "created": int(time.time()), "model": model, "object": kind}


def _usage(model: str, reply: Reply) -> Json:
    """Return the token counts.

    As in LiteLLM, Gemini's count of cached tokens is null, which breaks strict clients.
    """
    prompt, completion = reply.answer.prompt_tokens, reply.tokens
    usage: Json = {"completion_tokens": completion, "prompt_tokens": prompt, "total_tokens": prompt + completion}
    if model.startswith("gemini"):
        return {**usage, "prompt_tokens_details": {"cached_tokens": None}}
    kinds = ("accepted_prediction_tokens", "audio_tokens", "reasoning_tokens", "rejected_prediction_tokens")
    usage["completion_tokens_details"] = dict.fromkeys(kinds, 0)
    return {**usage, "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0}}


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, int) for one in value)


def _base64(vector: list[float]) -> str:
    """Encode a vector as little-endian 32-bit floats, as OpenAI does."""
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
