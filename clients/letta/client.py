"""The calls to Letta.

One key sees every user's agents: Letta does not know who is asking. Nothing here decides who may; ``resolvers.access``
does, before any write and before any byte of an answer.

A *scope* names one conversation: ``conv-…``, or ``agent-…`` for that agent's own, default conversation.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec

from clients.calls import Answer, Call, CallScope, UpstreamRejected
from clients.decode import decode, undecodable
from clients.errors import BadUserInput, Conflict, NotFound, Service, UpstreamError
from clients.letta.frames import Frame, decode_frame
from clients.letta.messages import MessageRecord, decode_page
from clients.letta.records import AgentState, ConversationRecord, MemoryBlockRecord, RunRecord
from clients.letta.sending import Sent
from clients.sse import sse_events
from clients.upstream import StreamedAnswer, Upstream

MAX_PAGE = 100

_AGENT = msgspec.json.Decoder(AgentState)
_AGENTS = msgspec.json.Decoder(list[AgentState])
_CONVERSATION = msgspec.json.Decoder(ConversationRecord)
_CONVERSATIONS = msgspec.json.Decoder(list[ConversationRecord])
_RUN = msgspec.json.Decoder(RunRecord)
_RUNS = msgspec.json.Decoder(list[RunRecord])
_BLOCK = msgspec.json.Decoder(MemoryBlockRecord)
NO_REDIS_SECONDS = 60.0
"""How long a Letta without Redis is not asked for a background run again."""

_INCLUDES = [("include", "agent.blocks"), ("include", "agent.tools"), ("include", "agent.tags")]
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID = re.compile(rf"(?:agent|conv|run|message|block|tool|passage|step)-{_UUID}\Z")


class LettaTurn:
    """An opened stream of one turn. ``background`` says whether Letta can take it up again by ``seq_id``."""

    def __init__(self, frames: AsyncIterator[Frame], *, background: bool) -> None:
        self.frames = frames
        self.background = background


def is_letta_id(value: str, kind: str) -> bool:
    """Whether ``value`` has the form of a Letta id of ``kind`` (``agent``, ``conv``, ``run``, …).

    Everything that goes into a Letta path is checked by this first, so that no id can be a path of its own.
    """
    return value.startswith(f"{kind}-") and _ID.match(value) is not None


class Letta:
    """Calls to Letta with the gateway's key."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._foreground_until = 0.0

    async def agent(self, scope: CallScope, agent_id: str) -> AgentState:
        """One agent's state, with blocks, tools and tags. Raises NotFound."""
        answer = await self._ask(scope, Call(operation="agent", path=f"/v1/agents/{agent_id}", params=_INCLUDES))
        return decode(Service.LETTA, _AGENT, answer.body)

    async def agents_by_tag(
        self, scope: CallScope, tag: str, *, limit: int, after: str | None = None
    ) -> list[AgentState]:
        """A page of agents that carry a tag, newest first; an unknown ``after`` is ignored by Letta."""
        params = [("tags", tag), ("limit", str(limit)), ("order", "desc"), *_INCLUDES]
        if after is not None:
            params.append(("after", after))
        answer = await self._ask(scope, Call(operation="agents", path="/v1/agents/", params=params))
        return decode(Service.LETTA, _AGENTS, answer.body)

    async def conversation(self, scope: CallScope, conversation_id: str) -> ConversationRecord:
        """One conversation. Raises NotFound."""
        answer = await self._ask(scope, Call(operation="conversation", path=f"/v1/conversations/{conversation_id}"))
        return decode(Service.LETTA, _CONVERSATION, answer.body)

    async def conversations(
        self, scope: CallScope, agent_id: str, *, limit: int, after: str | None = None
    ) -> list[ConversationRecord]:
        """A page of an agent's conversations, newest first."""
        params = [("agent_id", agent_id), ("limit", str(limit)), ("order", "desc")]
        if after is not None:
            params.append(("after", after))
        answer = await self._ask(scope, Call(operation="conversations", path="/v1/conversations/", params=params))
        return decode(Service.LETTA, _CONVERSATIONS, answer.body)

    async def create_conversation(self, scope: CallScope, agent_id: str, summary: str | None) -> ConversationRecord:
        """Start a conversation with an agent."""
        call = Call(
            operation="conversation.create",
            method="POST",
            path="/v1/conversations/",
            params=[("agent_id", agent_id)],
            json={"summary": summary} if summary is not None else {},
        )
        answer = await self._ask(scope, call)
        return decode(Service.LETTA, _CONVERSATION, answer.body)

    async def messages(
        self,
        scope: CallScope,
        conversation: str,
        *,
        limit: int,
        newest_first: bool,
        before: str | None = None,
        after: str | None = None,
    ) -> list[MessageRecord]:
        """A page of a conversation's messages, oldest first in the answer.

        ``newest_first`` says from which end it is taken. ``limit`` counts Letta's messages, each of which can be
        several here. ``before`` and ``after`` are Letta ids. Raises NotFound for a position that does not exist.
        """
        params = [("limit", str(limit)), ("order", "desc" if newest_first else "asc")]
        params += [("before", before)] if before else []
        params += [("after", after)] if after else []
        if conversation.startswith("agent-"):
            path, params = "/v1/conversations/default/messages", [("agent_id", conversation), *params]
        else:
            path = f"/v1/conversations/{conversation}/messages"
        answer = await self._ask(scope, Call(operation="messages", path=path, params=params))
        return decode_page(answer.body, conversation, newest_first=newest_first)

    async def run(self, scope: CallScope, run_id: str) -> RunRecord:
        """One run. Raises NotFound."""
        answer = await self._ask(scope, Call(operation="run", path=f"/v1/runs/{run_id}"))
        return decode(Service.LETTA, _RUN, answer.body)

    async def active_runs(self, scope: CallScope, agent_ids: list[str]) -> list[RunRecord]:
        """The runs of some agents that are still going, newest first."""
        params = [*(("agent_ids", agent_id) for agent_id in agent_ids), ("active", "true"), ("limit", str(MAX_PAGE))]
        answer = await self._ask(scope, Call(operation="runs", path="/v1/runs/", params=params))
        return decode(Service.LETTA, _RUNS, answer.body)

    async def runs(self, scope: CallScope, agent_ids: list[str], *, limit: int) -> list[RunRecord]:
        """The newest runs of some agents, newest first."""
        params = [*(("agent_ids", agent_id) for agent_id in agent_ids), ("limit", str(limit)), ("order", "desc")]
        answer = await self._ask(scope, Call(operation="runs", path="/v1/runs/", params=params))
        return decode(Service.LETTA, _RUNS, answer.body)

    async def block_agents(self, scope: CallScope, block_id: str) -> list[AgentState]:
        """The agents that a memory block is attached to: several may share it. Raises NotFound."""
        answer = await self._ask(scope, Call(operation="block.agents", path=f"/v1/blocks/{block_id}/agents"))
        return decode(Service.LETTA, _AGENTS, answer.body)

    async def update_block(self, scope: CallScope, block_id: str, value: str) -> MemoryBlockRecord:
        """Write a memory block. Raises NotFound, and BadUserInput where it does not fit."""
        call = Call(operation="block.update", method="PATCH", path=f"/v1/blocks/{block_id}", json={"value": value})
        return decode(Service.LETTA, _BLOCK, (await self._ask(scope, call)).body)

    async def cancel(self, scope: CallScope, run: RunRecord) -> None:
        """Stop a run. A run that is over already is no error."""
        call = Call(
            operation="run.cancel",
            method="POST",
            path=f"/v1/agents/{run.agent_id}/messages/cancel",
            json={"run_ids": [run.id]},
        )
        try:
            await self.upstream.request(scope, call)
        except UpstreamRejected as rejected:
            if rejected.status != 409:
                raise _translate(rejected) from rejected

    @asynccontextmanager
    async def send(
        self,
        scope: CallScope,
        conversation: str,
        sent: Sent,
        *,
        opens_within: float,
    ) -> AsyncIterator[LettaTurn]:
        """Send a message, or a decision, and read the turn it starts.

        Asked for in the background, so that the turn can be taken up again. A Letta without Redis refuses that before
        anything has run; the message is then sent in the foreground, and so are others for a while.

        Raises:
            Conflict: reason ``RUN_BUSY``, with the busy run's id in ``details``.
        """
        path, body = f"/v1/conversations/{conversation}/messages", _body(sent)
        if conversation.startswith("agent-"):
            path, body["agent_id"] = "/v1/conversations/default/messages", conversation
        call = Call(operation="send", method="POST", path=path, model_work=True, is_refusal=_lacks_redis)
        async with AsyncExitStack() as stack:
            background = time.monotonic() >= self._foreground_until
            try:
                answer = await stack.enter_async_context(self._turn(scope, call, body, opens_within, background))
            except _NoRedis:
                self._foreground_until = time.monotonic() + NO_REDIS_SECONDS
                background = False
                answer = await stack.enter_async_context(self._turn(scope, call, body, opens_within, background))
            yield LettaTurn(_frames(answer, conversation), background=background)

    @asynccontextmanager
    async def taken_up(
        self, scope: CallScope, conversation: str, run_id: str, *, opens_within: float
    ) -> AsyncIterator[LettaTurn]:
        """The turn of a background run, from its start, whoever began it. Raises BadUserInput for another run."""
        call = Call(
            operation="run.stream",
            method="POST",
            path=f"/v1/runs/{run_id}/stream",
            json={"starting_after": 0},
            model_work=True,
        )
        try:
            async with self.upstream.stream(scope, call, opens_within=opens_within) as answer:
                yield LettaTurn(_frames(answer, conversation), background=True)
        except UpstreamRejected as rejected:
            raise _translate(rejected) from rejected

    @asynccontextmanager
    async def _turn(
        self, scope: CallScope, call: Call, body: dict[str, Any], opens_within: float, background: bool
    ) -> AsyncIterator[StreamedAnswer]:
        call = replace(call, json=body | {"background": background})
        try:
            async with self.upstream.stream(scope, call, opens_within=opens_within) as answer:
                yield answer
        except UpstreamRejected as rejected:
            if rejected.status == 503:
                raise _NoRedis from rejected
            raise _translate(rejected) from rejected

    async def _ask(self, scope: CallScope, call: Call) -> Answer:
        try:
            return await self.upstream.request(scope, call)
        except UpstreamRejected as rejected:
            raise _translate(rejected) from rejected


class _NoRedis(Exception):
    """Letta cannot run a turn in the background."""


def _lacks_redis(answer: Answer) -> bool:
    """Whether a 503 is Letta's refusal of a background run (Letta contract), not a Letta that is down."""
    return answer.status == 503 and b"requires Redis" in answer.body


def _body(sent: Sent) -> dict[str, Any]:
    return {"messages": [sent.wire()], "streaming": True, "stream_tokens": True}


async def _frames(answer: StreamedAnswer, conversation: str) -> AsyncIterator[Frame]:
    async for event in sse_events(answer.chunks(), Service.LETTA):
        yield decode_frame(event, conversation)


class _Refusal(msgspec.Struct):
    run_id: str | None = None


_REFUSAL = msgspec.json.Decoder(_Refusal)


def _translate(rejected: UpstreamRejected) -> Exception:
    """What a refusal by Letta means to the caller. Its own text can leak internals and is never passed on."""
    match rejected.status:
        case 404:
            return NotFound("Not found.", service=Service.LETTA)
        case 400 | 422:
            return BadUserInput("Letta refused the request.", service=Service.LETTA)
        case 409:
            run_id = decode(Service.LETTA, _REFUSAL, rejected.body).run_id
            return Conflict(
                "The conversation is busy with another run." if run_id else "Letta refused: the state conflicts.",
                reason="RUN_BUSY" if run_id else None,
                service=Service.LETTA,
                details={"runId": run_id} if run_id else None,
            )
        case 401 | 403:
            return UpstreamError(
                "Letta refused the gateway's credential.", reason="CREDENTIAL", service=Service.LETTA, can_retry=False
            )
        case _:
            return undecodable(Service.LETTA)
