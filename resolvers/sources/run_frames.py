"""Reads the frames of one run from Letta.

If the connection breaks, the frames continue after the last frame (decision 0062). Letta replays only background runs.
The end of any other run is found by polling.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Self

from clients.codes import Reason
from clients.errors import GatewayError, Service, UpstreamError, UpstreamTimeout
from clients.letta.frames import Done, ErrorFrame, Frame, MessageFrame, Ping, StopReason
from clients.letta.ids import is_letta_id
from clients.letta.messages import MessageRecord
from clients.letta.records import RunStatus
from clients.letta.sending import FollowedRun, Sent
from clients.letta.turns import FrameNumbers, LettaTurn, NotReplayed
from clients.owned import ConversationRef, OwnedRunId
from resolvers.context import RequestContext
from resolvers.owned import run_named_in
from resolvers.sources.patience import is_temporary, patiently, pause

POLL_SECONDS = 1.0
"""The time between two polls of a run, in seconds. Runs are polled if Letta does not replay the stream."""

ENDED_SECONDS = 5.0
"""The time in which Letta must begin to replay a run that has ended or stopped, in seconds."""

_STOP_OF = {RunStatus.COMPLETED: "end_turn", RunStatus.CANCELLED: "cancelled", RunStatus.FAILED: "error"}
"""The stop reason for each final run status. The gateway uses these reasons if Letta sends none."""


class RunFrames:
    """The frames of one run. ``after`` is the number of the last frame that is not wanted.

    Exiting the context closes the call to Letta.

    Attributes:
        run_id: the run's id, once a frame has the id.
        is_replayed: whether Letta can replay the run's stream.
    """

    def __init__(self, context: RequestContext, conversation: ConversationRef, after: int = 0) -> None:
        self.run_id: OwnedRunId | None = None
        self.is_replayed = False
        self._context = context
        self._conversation = conversation
        self._numbers = FrameNumbers(after)
        self._call = AsyncExitStack()
        self._turn: LettaTurn | None = None
        self._breaks = 0
        self._silent_until = 0.0
        self._has_stopped = self._is_whole = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._call.aclose()

    async def send(self, sent: Sent) -> None:
        """Send a message or a decision, and open the stream of the run. Raises GatewayError if Letta refuses."""
        letta, within = self._context.resources.letta, self._context.resources.timeouts.first_token
        turn = letta.send(
            self._context.model_scope(), self._conversation, sent, opens_within=within, numbers=self._numbers
        )
        self._turn = await self._call.enter_async_context(turn)
        self.is_replayed = self._turn.background

    async def attach(self, run: FollowedRun) -> None:
        """Open the stream of a run. If Letta does not replay the stream, the run is polled instead.

        Letta does not answer if the run has ended and the frames are lost.
        """
        self.run_id, self.is_replayed = run.run_id, run.background
        if not run.background:
            return
        try:
            self._turn = await self._replayed(run.run_id, ENDED_SECONDS if run.is_over else sys.maxsize)
        except UpstreamTimeout as error:
            if not run.is_over or error.reason is not Reason.FIRST_TOKEN:
                raise
            self.is_replayed = False

    def is_token(self, frame: Frame) -> bool:
        """Return whether a frame shows that the model answers. A poll needs no timeout until the first token."""
        return self._turn is None or isinstance(frame, MessageFrame | StopReason | ErrorFrame)

    async def frames(self) -> AsyncGenerator[Frame]:
        """Yield the frames. If the connection breaks, open the stream again, or poll the run.

        In a background run, ``[DONE]`` or an error is the last frame. In other runs, the stop reason can be the last
        frame.

        Raises:
            UpstreamError: reason ``CUT``, if the connection breaks, and the run cannot be read again. After a restart,
                Letta sends only keep-alive frames for a run. So the error is raised if a stream that was opened again
                has no other frame within the timeout ``idle``.
        """
        while self._turn is not None:
            try:
                async with self._call.pop_all():
                    async for frame in self._turn.frames:
                        self._note(frame)
                        yield frame
                broken = cut()
            except NotReplayed:
                self._turn, self.is_replayed = None, False
                break
            except UpstreamError as error:
                if error.reason is not Reason.CUT:
                    raise
                broken = error
            else:
                if self._is_whole or (self._has_stopped and not self.is_replayed):
                    return
            self._turn = await self._reopened(broken)
        if self._has_stopped or self.run_id is None:
            return
        async for frame in self._polled(self.run_id):
            yield frame

    def _note(self, frame: Frame) -> None:
        self.run_id = self.run_id or self._run_id(frame)
        if isinstance(frame, MessageFrame):
            self._breaks = 0
        elif isinstance(frame, StopReason):
            self._has_stopped = True
        elif isinstance(frame, ErrorFrame | Done):
            self._has_stopped = self._is_whole = True
        elif self._breaks and isinstance(frame, Ping) and time.monotonic() > self._silent_until:
            self._breaks = sys.maxsize
            raise cut()

    def _run_id(self, frame: Frame) -> OwnedRunId | None:
        """Return a frame's run id if the id is well-formed, because the id becomes part of URL paths."""
        match frame:
            case Ping(run_id=run_id) | MessageFrame(message=MessageRecord(run_id=run_id)) | ErrorFrame(run_id=run_id):
                known = run_id if run_id is not None and is_letta_id(run_id, "run") else None
                return None if known is None else run_named_in(self._conversation, known)
            case _:
                return None

    async def _reopened(self, broken: UpstreamError) -> LettaTurn | None:
        """Open the stream again after the last frame. Return ``None`` if Letta does not replay the stream.

        If no attempt succeeds, ``broken`` is raised, unless the run has ended.
        """
        if self.run_id is None:
            raise broken
        failed: GatewayError | None = None
        while self.is_replayed and await pause(self._breaks, failed):
            self._breaks += 1
            self._silent_until = time.monotonic() + self._context.resources.timeouts.idle
            try:
                return await self._replayed(self.run_id, ENDED_SECONDS if self._has_stopped else sys.maxsize)
            except GatewayError as error:
                if not is_temporary(error):
                    break
                failed = error
        if self.is_replayed and not self._has_stopped:
            raise broken
        return None

    async def _replayed(self, run_id: OwnedRunId, opens_within: float = sys.maxsize) -> LettaTurn | None:
        letta, within = self._context.resources.letta, self._context.resources.timeouts.first_token
        turn = letta.resume(
            self._context.renewed().model_scope(),
            self._conversation,
            run_id,
            opens_within=min(opens_within, within),
            numbers=self._numbers,
        )
        try:
            return await self._call.enter_async_context(turn)
        except NotReplayed:
            self.is_replayed = False
            return None

    async def _polled(self, run_id: OwnedRunId) -> AsyncGenerator[Frame]:
        """Poll a run until the run has ended, because Letta does not replay the run's stream."""
        letta = self._context.resources.letta
        while not (run := await patiently(lambda: letta.run(self._context.renewed().scope, run_id))).over:
            yield Ping(run_id)
            await asyncio.sleep(POLL_SECONDS)
        yield StopReason(run.stop_reason or _STOP_OF[run.status])


def cut() -> UpstreamError:
    """Return the error for an answer that ended too early."""
    return UpstreamError(
        "The connection to Letta broke before the answer was complete. Retry the request with the same idempotency "
        "key or stream key.",
        reason=Reason.CUT,
        service=Service.LETTA,
    )
