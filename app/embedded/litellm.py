"""The embedded LiteLLM proxy: models, completions, and its ways of refusing, as recorded from 1.106.2."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import orjson
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from app.embedded.model import Answer, ModelFailure, answer_to, speak
from app.embedded.state import Json, State

_FAILURES = {
    "400": (400, "invalid_request_error"),
    "401": (401, "auth_error"),
    "404": (404, "invalid_request_error"),
    "ctx": (400, "invalid_request_error"),
    "429": (429, "throttling_error"),
    "500": (500, "internal_server_error"),
    "503": (503, "internal_server_error"),
}
_CONTEXT = "litellm.ContextWindowExceededError: This model's maximum context length is 8192 tokens."
_MODEL_FAILED = (
    "litellm.InternalServerError: InternalServerError: OpenAIException - The server had an error\n\n"
    "LiteLLM: model group failed with the error above. No fallback was attempted."
)
_CUT = "litellm.APIConnectionError: Response payload is not completed"


class EmbeddedLiteLLM:
    """LiteLLM's routes. ``keys`` are the virtual keys, with the models each may call; ``None`` is all."""

    def __init__(self, state: State, keys: dict[str, list[str] | None], *, words_per_second: float) -> None:
        self._state = state
        self._keys = keys
        self._words_per_second = words_per_second

    def app(self) -> Starlette:
        """The service."""
        return Starlette(
            routes=[
                Route(
                    "/health/liveliness", lambda _: PlainTextResponse('"I\'m alive!"', media_type="application/json")
                ),
                Route("/health/readiness", lambda _: JSONResponse({"status": "healthy", "db": "connected"})),
                Route("/v1/models", self._models),
                Route("/model_group/info", self._groups),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    def _allowed(self, request: Request) -> list[str] | None:
        """The models that the request's key may call; ``None`` for a bad key."""
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if key not in self._keys:
            return None
        models = self._keys[key]
        return list(self._state.models) if models is None else models

    async def _models(self, request: Request) -> Response:
        if (allowed := self._allowed(request)) is None:
            return _bad_key()
        return JSONResponse({"data": [self._openai(name) for name in allowed], "object": "list"})

    def _openai(self, name: str) -> Json:
        model = self._state.models[name]
        shape = {"id": name, "object": "model", "created": 1677610602, "owned_by": "openai", "mode": model["mode"]}
        return {**shape, "max_input_tokens": model["max_input_tokens"], "max_output_tokens": model["max_output_tokens"]}

    async def _groups(self, request: Request) -> Response:
        if (allowed := self._allowed(request)) is None:
            return _bad_key()
        groups = [{"model_group": name, **self._state.models[name]} for name in allowed]
        return JSONResponse({"data": groups})

    async def _chat(self, request: Request) -> Response:
        if (allowed := self._allowed(request)) is None:
            return _bad_key()
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return _refuse(400, "invalid_request_error", "Invalid JSON payload")
        model, messages = body.get("model"), body.get("messages")
        if model not in self._state.models:
            text = f"/chat/completions: Invalid model name passed in model={model}. Call `/v1/models` to view models."
            return _refuse(400, "invalid_request_error", text)
        if model not in allowed:
            text = f"The requested model '{model}' is not available for this API key."
            return _refuse(403, "key_model_access_denied", text)
        if not isinstance(messages, list):
            return _refuse(400, "invalid_request_error", "/chat/completions: Missing required parameter: 'messages'.")
        answer = answer_to(messages, words_per_second=self._words_per_second)
        return await (self._streamed if body.get("stream") else self._whole)(body, answer)

    async def _whole(self, body: Json, answer: Answer) -> Response:
        try:
            words = [word async for word in speak(answer, self._state.stats)]
        except ModelFailure as failure:
            return _failed(failure)
        message: Json = {"content": "".join(words), "role": "assistant"}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        completion = {
            **_frame(body["model"], "chat.completion"),
            "choices": [{"finish_reason": "stop", "index": 0, "message": message}],
            "usage": _usage(body["model"], answer),
        }
        return Response(orjson.dumps(completion), media_type="application/json", headers=_headers(body["model"], 9e-06))

    async def _streamed(self, body: Json, answer: Answer) -> Response:
        words = speak(answer, self._state.stats)
        try:
            first = await anext(words, "")
        except ModelFailure as failure:
            return _failed(failure)
        return StreamingResponse(
            self._events(body, answer, first, words),
            media_type="text/event-stream",
            headers=_headers(body["model"], 0.0),
            background=BackgroundTask(words.aclose),  # type: ignore[attr-defined]
        )

    async def _events(self, body: Json, answer: Answer, first: str, words: AsyncIterator[str]) -> AsyncIterator[bytes]:
        frame = _frame(body["model"], "chat.completion.chunk")

        def chunk(delta: Json, **more: object) -> bytes:
            choice = {**more.pop("choice", {}), "index": 0, "delta": delta}  # type: ignore[dict-item]
            return b"data: " + orjson.dumps({**frame, "choices": [choice], **more}) + b"\n\n"

        try:
            yield chunk({"content": "", "role": "assistant"})
            if answer.reasoning:
                yield chunk({"reasoning_content": answer.reasoning})
            yield chunk({"content": first})
            async for word in words:
                yield chunk({"content": word})
            yield chunk({}, choice={"finish_reason": "stop"})
            if (body.get("stream_options") or {}).get("include_usage"):
                yield chunk({}, usage=_usage(body["model"], answer))
            yield b"data: [DONE]\n\n"
        except ModelFailure:
            error = {"message": _CUT, "type": None, "param": None, "code": "500"}
            yield b"data: " + orjson.dumps({"error": error}) + b"\n\n"
        finally:
            await words.aclose()  # type: ignore[attr-defined]


def _frame(model: str, kind: str) -> Json:
    return {"id": f"chatcmpl-{uuid.uuid4().hex[:20]}", "created": int(time.time()), "model": model, "object": kind}


def _usage(model: str, answer: Answer) -> Json:
    out = len(answer.words)
    usage: Json = {
        "completion_tokens": out,
        "prompt_tokens": answer.prompt_tokens,
        "total_tokens": out + answer.prompt_tokens,
    }
    cached = None if model.startswith("gemini") else 0
    return {**usage, "prompt_tokens_details": {"cached_tokens": cached}}


def _headers(model: str, cost: float) -> dict[str, str]:
    return {
        "x-litellm-call-id": str(uuid.uuid4()),
        "x-litellm-model-id": f"{model}-id",
        "x-litellm-model-group": model,
        "x-litellm-response-cost": str(cost),
        "x-litellm-key-spend": str(cost),
    }


def _bad_key() -> Response:
    return _refuse(401, "token_not_found_in_db", "Authentication Error, Invalid proxy server token passed.")


def _failed(failure: ModelFailure) -> Response:
    status, kind = _FAILURES.get(failure.kind, (500, "internal_server_error"))
    text = _CONTEXT if failure.kind == "ctx" else _MODEL_FAILED
    return _refuse(status, kind, text, {"retry-after": "2"} if status == 429 else {})


def _refuse(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> Response:
    error = {"message": message, "type": kind, "param": None, "code": str(status)}
    return JSONResponse({"error": error}, status, headers)
