"""The routes of completions and embeddings. A deterministic model answers the requests."""

from __future__ import annotations

import asyncio
import struct
import time
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator

import orjson
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.embedded.litellm.admission import Admission
from app.embedded.litellm.answers import Refused, Routes, body_of, invalid, ok, unless_disconnected
from app.embedded.litellm.checks import check_completion
from app.embedded.litellm.replies import Reply, Sent, deltas, reply_to
from app.embedded.litellm.spend import Call, Ledger
from app.embedded.model import ModelFailure, answer_to, counted, generate
from app.embedded.state import Json, State
from app.embedded.vectors import embed, words

_CUT: Json = {
    "message": "litellm.APIConnectionError: Response payload is not completed",
    "type": None,
    "param": None,
    "code": "500",
}
_LIMITED: Json = {
    "message": "litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached",
    "type": "throttling_error",
    "param": None,
    "code": "429",
}
DIMENSIONS = 1536
MAX_DIMENSIONS = 4096


class Chat:
    """The routes that call a model."""

    def __init__(self, state: State, admission: Admission, ledger: Ledger, *, words_per_second: float) -> None:
        self._state = state
        self._admission = admission
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
        call = self._admission.admit(record, body, "/chat/completions", "acompletion")
        check_completion(body)
        reply = reply_to(body, answer_to(body["messages"], words_per_second=self._words_per_second))
        if body.get("stream"):
            wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return await unless_disconnected(request, self._streamed(call, reply, wants_usage=wants_usage))
        return await unless_disconnected(request, self._whole(call, reply))

    async def _whole(self, call: Call, reply: Reply) -> Response:
        try:
            text = "".join([word async for word in generate(reply.answer, self._state.stats)])
        except ModelFailure as failure:
            raise self._admission.failed(call, failure) from failure
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
        return ok(completion, self._admission.headers(call, cost))

    async def _streamed(self, call: Call, reply: Reply, *, wants_usage: bool) -> Response:
        generated = generate(reply.answer, self._state.stats)
        try:
            first = await anext(generated, "")
        except ModelFailure as failure:
            raise self._admission.failed(call, failure) from failure
        return StreamingResponse(
            self._events(call, reply, first, generated, wants_usage=wants_usage),
            media_type="text/event-stream",
            headers=self._admission.headers(call, 0.0),
            background=BackgroundTask(generated.aclose),  # type: ignore[attr-defined]
        )

    async def _events(
        self, call: Call, reply: Reply, first: str, generated: AsyncIterator[str], *, wants_usage: bool
    ) -> AsyncIterator[bytes]:
        frame = _frame(call.model, "chat.completion.chunk")
        tokens, failed, sent = None, False, Sent()
        try:
            async for delta in deltas(reply, first, generated):
                yield _chunk(frame, sent.add(delta))
            tokens = reply.tokens
            yield _chunk(frame, {}, choice={"finish_reason": reply.finish})
            if wants_usage:
                cost = sum(self._ledger.cost(call.model, reply.answer.prompt_tokens, tokens))
                yield _chunk(frame, {}, usage={**_usage(call.model, reply), "cost": cost})
            yield b"data: [DONE]\n\n"
        except ModelFailure as failure:
            failed = True
            error = _LIMITED if failure.kind == "errdone" else _CUT
            yield b"data: " + orjson.dumps({"error": error}) + b"\n\n"
        finally:
            tokens = sent.tokens if tokens is None else tokens
            self._ledger.settle(call, reply.answer.prompt_tokens, tokens, failed=failed)
            await generated.aclose()  # type: ignore[attr-defined]

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
        call = self._admission.admit(record, body, "/embeddings", "aembedding")
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
        return ok(answer, self._admission.headers(call, cost))


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
