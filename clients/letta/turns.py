"""Starts agents' turns in Letta, and reads the turns' streams."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import NamedTuple

from msgspec.structs import replace

from clients.calls import Answer, Call, CallScope, UpstreamRejected
from clients.decode import undecodable
from clients.errors import BadUserInput, Service, UpstreamError
from clients.letta.frames import Frame, decode_frame
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


class NotReplayed(BadUserInput):
    """Letta does not replay the run's stream, or replays only the end.

    Letta 0.16.8 replays background runs for three hours, and keeps about 10,000 frames per run.
    """


class FrameNumbers:
    """The numbers (``seq_id``) of the frames that were read. Consecutive numbers from 1 take no memory.

    ``newest`` is the largest number. Reading can continue after this frame. All numbers up to ``upto`` count as read.
    """

    def __init__(self, upto: int = 0) -> None:
        self.newest = upto
        self._upto = upto
        self._others: set[int] = set()

    def add(self, number: int) -> bool:
        """Add a number. Return whether the number is new."""
        if 0 < number <= self._upto or number in self._others:
            return False
        self.newest = max(self.newest, number)
        self._others.add(number)
        while self._upto + 1 in self._others:
            self._upto += 1
            self._others.remove(self._upto)
        return True


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
        self,
        scope: CallScope,
        conversation: ConversationRef,
        sent: Sent,
        *,
        opens_within: float,
        numbers: FrameNumbers | None = None,
    ) -> AsyncIterator[LettaTurn]:
        """Start an agent's turn, and open the turn's stream.

        The input is a message or a decision. The frames' numbers are added to ``numbers``. The method requests a
        background run, whose stream can be opened again. If Letta has no Redis, Letta refuses the request before the
        turn begins. The client then requests foreground runs for ``NO_REDIS_SECONDS``. Raises Conflict (``RUN_BUSY``)
        with the active run's id in ``details``.
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
            frames = aclosing(_frames(answer, conversation, numbers or FrameNumbers()))
            yield LettaTurn(await stack.enter_async_context(frames), background=background)

    @asynccontextmanager
    async def resume(
        self,
        scope: CallScope,
        conversation: ConversationRef,
        run_id: OwnedRunId,
        *,
        opens_within: float,
        numbers: FrameNumbers | None = None,
    ) -> AsyncIterator[LettaTurn]:
        """Replay a background run's stream after the newest of ``numbers``, or else from the first frame.

        Entering the context, or reading the first frame, raises NotReplayed if Letta does not have the next frame. If
        the run has ended, and Letta has no frame after the newest number, Letta does not answer.
        """
        numbers = numbers or FrameNumbers()
        call = Call(
            "run.stream",
            f"/v1/runs/{run_id}/stream",
            "POST",
            json={"starting_after": numbers.newest},
            subject=run_id,
            model_work=True,
            is_refusal=_lacks_redis,
            refused=_refused_replay,
        )
        async with (
            self.upstream.stream(scope, call, opens_within=opens_within) as answer,
            aclosing(_frames(answer, conversation, numbers, follows=numbers.newest)) as frames,
        ):
            yield LettaTurn(frames, background=True)


class _NoRedis(Exception):
    """Letta cannot run a turn in the background, because Letta has no Redis."""


def _refused_turn(rejected: UpstreamRejected) -> Exception:
    return _NoRedis() if rejected.status == 503 else translate(rejected)


def _refused_replay(rejected: UpstreamRejected) -> Exception:
    return _not_replayed() if rejected.status in _NO_REPLAY else translate(rejected)


_NO_REPLAY = {400, 410, 503}
"""The statuses for a foreground run, for a run that is older than three hours, and for a Letta without Redis."""


def _not_replayed() -> NotReplayed:
    return NotReplayed("Letta no longer replays the run. Read the conversation's `messages`.", service=Service.LETTA)


def _lacks_redis(answer: Answer) -> bool:
    return answer.status == 503 and b"requires Redis" in answer.body


async def _frames(
    answer: StreamedAnswer, conversation: ConversationRef, numbers: FrameNumbers, *, follows: int | None = None
) -> AsyncGenerator[Frame]:
    """Yield the readable frames of an answer, deduplicated by ``seq_id``.

    Frames that cannot be read are dropped, since the gateway reads the turn's messages again at the turn's end. If
    ``follows`` is given, the answer must begin with the next frame. Letta counts all frames, but writes only some
    numbers.

    Raises:
        UpstreamError: reason ``DECODE``, if the answer has bytes and no readable frame. A part of the first frame is no
            error, because the connection has broken.
        NotReplayed: the answer does not begin with the next frame.
    """
    readable, undecoded, start, last = False, False, b"", follows

    async def seen() -> AsyncGenerator[bytes]:
        nonlocal start
        async for chunk in answer.chunks:
            if len(start) < _LONGEST_FIELD:
                start += chunk[:_LONGEST_FIELD]
            yield chunk

    async with aclosing(seen()) as chunks, aclosing(sse_events(chunks, Service.LETTA)) as events:
        async for event in events:
            try:
                seq_id, frame = decode_frame(event, conversation)
            except UpstreamError:
                undecoded, last = True, None if last is None else last + 1
                continue
            readable = True
            if last is not None:
                last += 1
                if seq_id is not None:
                    if seq_id > last:
                        raise _not_replayed()
                    last = None
            if seq_id is None or numbers.add(seq_id):
                yield frame
    if start and not readable and (undecoded or not _begins_event(start)):
        raise undecodable(Service.LETTA)


_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST_FIELD = max(map(len, _FIELDS))


def _begins_event(start: bytes) -> bool:
    return any(start.startswith(field) or field.startswith(start) for field in _FIELDS)
