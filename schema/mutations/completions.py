"""Completions."""

from __future__ import annotations

import strawberry

from resolvers import turns
from resolvers.info import Info
from resolvers.streams.stream import Stream as StreamRecord
from schema.base import described, reads
from schema.inputs import CompletionInput, required_key
from schema.outcomes import Payload, PayloadRecord, done_by
from schema.stream import Stream


class _Payload(PayloadRecord, kw_only=True):
    stream: StreamRecord | None = None


@strawberry.type(description="A completion was begun.")
@reads(_Payload)
class StartCompletionPayload(Payload):
    """Payload of ``startCompletion``."""

    stream: Stream | None = described("Where the answer comes: subscribe to it.")


async def _start_completion(info: Info, input: CompletionInput) -> _Payload:  # noqa: A002 - the argument's name
    key = required_key(input.idempotency_key)
    attached = await turns.start_completion(
        info.context, body=input.body(), on_disconnect=input.on_disconnect, key=key, reads=False
    )
    async with attached as stream:
        return _Payload(stream=stream)


@strawberry.type
class CompletionMutations:
    """Part of the root of mutations."""

    start_completion: StartCompletionPayload = done_by(
        _Payload, _start_completion, "Ask a model for a completion; subscribe to its stream."
    )
