"""Starts agents' turns in Letta, and reads the turns' streams."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

from clients.calls import Answer, Call, CallScope, UpstreamRejected
from clients.decode import undecodable
from clients.errors import Service, UpstreamError
from clients.letta.frames import Frame, decode_frame, seq_id_of
from clients.letta.refusals import translate
from clients.letta.sending import Sent
from clients.owned import ConversationRef, OwnedRunId
from clients.service import ServiceClient
from clients.sse import sse_events
from clients.upstream import StreamedAnswer, StreamedCall, Upstream

NO_REDIS_SECONDS = 60.0
"""The seconds after which the gateway requests a background run again, if Letta has no Redis."""


class LettaTurn(NamedTuple):
    """An agent's turn with an open stream. If ``background`` is true, Letta can replay the stream."""

    frames: AsyncIterator[Frame]
    background: bool


class TurnCalls(ServiceClient):
    """Starts agents' turns in Letta, and reads the turns' streams."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._foreground_until = 0.0
        self._has_redis = True

    def note(self) -> str | None:
        """Return a sentence for operators if Letta has no Redis. Returns ``None`` otherwise."""
        if self._has_redis:
            return None
        return "Letta has no Redis, so clients cannot resume an answer after this gateway process has stopped."

    @asynccontextmanager
    async def send(
        self, scope: CallScope, conversation: ConversationRef, sent: Sent, *, opens_within: float
    ) -> AsyncIterator[LettaTurn]:
        """Start an agent's turn, and open the turn's stream.

        The input is a message or a decision. The method requests a background run, whose stream can be opened again. If
        Letta has no Redis, Letta refuses the request before the turn begins. The client then requests foreground runs
        for ``NO_REDIS_SECONDS``. Raises Conflict (``RUN_BUSY``) with the active run's id in ``details``.
        """
        body = {"messages": [sent.wire()], "streaming": True, "stream_tokens": True} | conversation.agent_parameter
        call = Call(
            "send",
            conversation.messages_path,
            "POST",
            subject=conversation,
            model_work=True,
            is_refusal=_lacks_redis,
            refused=_refused_turn,
        )

        def opened(*, background: bool) -> StreamedCall:
            sent = replace(call, json=body | {"background": background})
            return self.upstream.stream(scope, sent, opens_within=opens_within)

        async with AsyncExitStack() as stack:
            background = time.monotonic() >= self._foreground_until
            try:
                answer = await stack.enter_async_context(opened(background=background))
            except _NoRedis:
                self._foreground_until = time.monotonic() + NO_REDIS_SECONDS
                background = self._has_redis = False
                answer = await stack.enter_async_context(opened(background=False))
            self._has_redis = self._has_redis or background
            yield LettaTurn(_frames(answer, conversation), background=background)

    @asynccontextmanager
    async def resume(
        self, scope: CallScope, conversation: ConversationRef, run_id: OwnedRunId, *, opens_within: float
    ) -> AsyncIterator[LettaTurn]:
        """Replay a background run's stream from the first event. Raises BadUserInput for a foreground run."""
        call = Call(
            "run.stream",
            f"/v1/runs/{run_id}/stream",
            "POST",
            json={"starting_after": 0},
            subject=run_id,
            model_work=True,
        )
        async with self.upstream.stream(scope, call, opens_within=opens_within) as answer:
            yield LettaTurn(_frames(answer, conversation), background=True)


class _NoRedis(Exception):
    """Letta cannot run a turn in the background, because Letta has no Redis."""


def _refused_turn(rejected: UpstreamRejected) -> Exception:
    return _NoRedis() if rejected.status == 503 else translate(rejected)


def _lacks_redis(answer: Answer) -> bool:
    return answer.status == 503 and b"requires Redis" in answer.body


class _Seen:
    """A set of frame numbers. Consecutive numbers from 1, as Letta sends them, take no memory."""

    def __init__(self) -> None:
        self._upto = 0
        self._others: set[int] = set()

    def add(self, number: int) -> bool:
        """Add a number to the set. Return whether the number is new."""
        if 0 < number <= self._upto or number in self._others:
            return False
        self._others.add(number)
        while self._upto + 1 in self._others:
            self._upto += 1
            self._others.remove(self._upto)
        return True


async def _frames(answer: StreamedAnswer, conversation: ConversationRef) -> AsyncIterator[Frame]:
    """Yield the readable frames of an answer, deduplicated by ``seq_id``.

    Frames that cannot be read are dropped, since the gateway reads the turn's messages again at the turn's end. Raises
    UpstreamError (``DECODE``) if the answer has bytes and no readable frame.
    """
    seen, readable, number = _Seen(), False, 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal number
        async for chunk in answer.chunks:
            number += len(chunk)
            yield chunk

    async for event in sse_events(counted(), Service.LETTA):
        try:
            seq_id, frame = seq_id_of(event), decode_frame(event, conversation)
        except UpstreamError:
            continue
        readable = True
        if seq_id is None or seen.add(seq_id):
            yield frame
    if number and not readable:
        raise undecodable(Service.LETTA)
