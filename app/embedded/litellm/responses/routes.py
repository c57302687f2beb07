"""The routes of the Responses API. The deterministic model of completions answers the requests.

A model whose provider serves the Responses API is *native*: the provider stores responses. For another model, LiteLLM
answers 404, unless the request has ``use_chat_completions_api: true``. LiteLLM then sends a completion's request, and
stores nothing: a previous response is accepted, but its conversation is not continued.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import orjson
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.embedded.litellm.admission import Admission
from app.embedded.litellm.answers import Refused, Routes, body_of, invalid, ok, unless_disconnected
from app.embedded.litellm.checks import check_completion
from app.embedded.litellm.replies import Reply, Sent, deltas, reply_to
from app.embedded.litellm.responses.body import Body, status_of
from app.embedded.litellm.responses.ids import Issued, ResponseIds, owner_of
from app.embedded.litellm.responses.inputs import chat_of, items_of
from app.embedded.litellm.responses.output import Event, Output
from app.embedded.litellm.responses.store import StoredResponses, no_responses
from app.embedded.litellm.spend import Call, Ledger
from app.embedded.model import ModelFailure, answer_to, generate
from app.embedded.state import Json, State

RESPONSES = "/v1/responses"
"""The Responses API among the endpoints that a model supports."""
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_FAILURES = {
    "cut": ("server_error", "litellm.APIConnectionError: APIConnectionError: OpenAIException - Connection error."),
    "errdone": ("rate_limit_exceeded", "Rate limit reached"),
}
"""The codes and texts of the failures midway."""


@dataclass(frozen=True)
class _Turn:
    """A response that is being made. ``context`` are the items of the conversation before the output."""

    call: Call
    reply: Reply
    body: Body
    provider_id: str
    context: list[Json]

    def new_output(self) -> Output:
        """Return an output without items."""
        include = self.body.request.get("include")
        encrypted = isinstance(include, list) and "reasoning.encrypted_content" in include
        return Output(native=self.body.native, encrypted=encrypted)

    @property
    def is_stored(self) -> bool:
        """Whether the provider stores the response."""
        return self.body.native and self.body.request.get("store") is not False


class Responses:
    """The routes of the Responses API."""

    def __init__(self, state: State, admission: Admission, ledger: Ledger, *, words_per_second: float) -> None:
        self._state = state
        self._admission = admission
        self._ledger = ledger
        self._words_per_second = words_per_second
        self._ids = ResponseIds(state)
        self._stored = StoredResponses(state)

    def routes(self) -> Routes:
        """Return the routes."""
        return [
            route
            for path in (RESPONSES, RESPONSES.removeprefix("/v1"))
            for route in (
                ("POST", path, self._create),
                ("GET", f"{path}/{{id}}", self._get),
                ("DELETE", f"{path}/{{id}}", self._delete),
                ("GET", f"{path}/{{id}}/input_items", self._input_items),
            )
        ]

    async def _create(self, request: Request, record: Json) -> Response:
        body = await body_of(request)
        call = self._admission.admit(record, body, "/responses", "aresponses")
        if "input" not in body:
            raise invalid("/responses: Missing required parameter: 'input'.", "input")
        try:
            turn = self._turn(call, body)
        except Refused:
            self._ledger.settle(call, 0, 0, failed=True)
            raise
        return await unless_disconnected(request, self._streamed(turn) if body.get("stream") else self._whole(turn))

    def _turn(self, call: Call, body: Json) -> _Turn:
        """Return the response to make. Raises Refused."""
        previous = None
        if isinstance(response_id := body.get("previous_response_id"), str):
            previous = self._ids.read(response_id, call.record).provider_id
        native = not body.get("use_chat_completions_api")
        if native and not self._is_native(call.model):
            raise no_responses(call.model)
        context = items_of(body["input"])
        if native:
            context = self._stored.context(call.model, previous, owner_of(call.record), context)
        chat = chat_of(body, context)
        check_completion(chat)
        reply = reply_to(chat, answer_to(chat["messages"], words_per_second=self._words_per_second))
        provider_id = f"resp_{uuid.uuid4().hex}" if native else f"chatcmpl-{uuid.uuid4().hex}"
        response_id = self._ids.issue(provider_id, call.model, call.record)
        return _Turn(call, reply, Body(response_id, call.model, body, native, previous), provider_id, context)

    def _is_native(self, model: str) -> bool:
        return RESPONSES in self._state.models[model]["supported_endpoints"]

    async def _whole(self, turn: _Turn) -> Response:
        reply, output = turn.reply, turn.new_output()
        generated = generate(reply.answer, self._state.stats)
        try:
            async for delta in deltas(reply, await anext(generated, ""), generated):
                output.add(delta)
        except ModelFailure as failure:
            raise self._admission.failed(turn.call, failure) from failure
        finally:
            await generated.aclose()  # type: ignore[attr-defined]
        output.end(status_of(reply))
        cost = self._ledger.settle(turn.call, reply.answer.prompt_tokens, reply.tokens)
        self._keep(turn, output)
        return ok(turn.body.whole(reply, output.items), self._admission.headers(turn.call, cost))

    async def _streamed(self, turn: _Turn) -> Response:
        """Return a stream. LiteLLM answers at the first output of a native model, and at once if it bridges."""
        generated = generate(turn.reply.answer, self._state.stats)
        first = None
        if turn.body.native or turn.reply.answer.fails_at_once:
            try:
                first = await anext(generated, "")
            except ModelFailure as failure:
                raise self._admission.failed(turn.call, failure) from failure
        return StreamingResponse(
            self._frames(turn, first, generated),
            media_type="text/event-stream",
            headers={**self._admission.headers(turn.call, 0.0), **_HEADERS},
            background=BackgroundTask(generated.aclose),  # type: ignore[attr-defined]
        )

    async def _frames(self, turn: _Turn, first: str | None, generated: AsyncIterator[str]) -> AsyncIterator[bytes]:
        """Yield the server-sent events. A failure has no ``model`` beside its response."""
        numbers = itertools.count()
        async with aclosing(self._events(turn, first, generated)) as events:
            async for kind, fields in events:
                model = {} if kind == "response.failed" else {"model": turn.call.model}
                data = orjson.dumps({"type": kind, **fields, "sequence_number": next(numbers), **model})
                yield b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    async def _events(
        self, turn: _Turn, first: str | None, generated: AsyncIterator[str]
    ) -> AsyncGenerator[Event, None]:
        """Yield the events, the first of them at the first word."""
        reply, body, output, sent = turn.reply, turn.body, turn.new_output(), Sent()
        tokens, failed = None, False
        try:
            first = await anext(generated, "") if first is None else first
            for name in ("created", "in_progress"):
                yield f"response.{name}", {"response": body.beginning()}
            async for delta in deltas(reply, first, generated):
                for event in output.add(sent.add(delta)):
                    yield event
            tokens = reply.tokens
            for event in output.end(status_of(reply)):
                yield event
            self._keep(turn, output)
            cost = sum(self._ledger.cost(turn.call.model, reply.answer.prompt_tokens, tokens))
            yield f"response.{status_of(reply)}", {"response": body.ended(reply, output.items, cost)}
        except ModelFailure as failure:
            failed = True
            yield "response.failed", {"response": body.failed(*_FAILURES[failure.kind])}
        finally:
            if first is not None:
                tokens = sent.tokens if tokens is None else tokens
                self._ledger.settle(turn.call, reply.answer.prompt_tokens, tokens, failed=failed)
            await generated.aclose()  # type: ignore[attr-defined]

    def _keep(self, turn: _Turn, output: Output) -> None:
        """Store a response if the provider does."""
        if turn.is_stored:
            body = turn.body.whole(turn.reply, output.items)
            self._stored.keep(turn.provider_id, owner_of(turn.call.record), body, turn.context)

    async def _get(self, request: Request, record: Json) -> Response:
        found = self._found(request, record)
        return ok(self._stored.body(found.model, found.provider_id))

    async def _delete(self, request: Request, record: Json) -> Response:
        found = self._found(request, record)
        self._stored.drop(found.model, found.provider_id)
        return ok({"id": request.path_params["id"], "object": "response", "deleted": True})

    async def _input_items(self, request: Request, record: Json) -> Response:
        found = self._found(request, record)
        return ok(self._stored.page(found.model, found.provider_id, request.query_params))

    def _found(self, request: Request, record: Json) -> Issued:
        """Return the response that a path names, if its provider stores responses. Raises Refused."""
        issued = self._ids.read(request.path_params["id"], record)
        if not self._is_native(issued.model):
            raise no_responses(issued.model)
        return issued
