"""Answers requests whose model is an agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from app.audit import Trail
from app.gateway import Gateway
from app.rest.agents.asked import CHAT, RESPONSES, input_message, last_message, refuse_parameters
from app.rest.agents.chat import ChatStream, whole_chat
from app.rest.agents.named import agent_named, conversation_of, names_agent
from app.rest.agents.responses import ResponseStream, whole_response
from app.rest.agents.stored import response_head
from app.rest.agents.turn import AgentTurn, Message, Translation, Whole
from app.rest.table import Work
from clients.owned import ConversationRef
from resolvers.context import RequestContext
from resolvers.owned import OwnedAgent, ref_of
from resolvers.streams.stream import Stream
from resolvers.vetting import Vetted


class _Forms(NamedTuple):
    """The functions that write an answer in one of OpenAI's formats."""

    streamed: Callable[[Stream], Translation]
    whole: Whole


async def agent_relay(
    gateway: Gateway, context: RequestContext, trail: Trail, model: str, *, counted: bool
) -> AgentRelay | None:
    """Return the relay to the user's agent that ``model`` names, or ``None`` if ``model`` names no agent of the user's.

    The owner is checked without the cache, as for a mutation.
    """
    if not names_agent(context, model):
        return None
    context = context.renewed()
    agent = await agent_named(context, model)
    return None if agent is None else AgentRelay(gateway, context, trail, agent, counted=counted)


class AgentRelay:
    """Answers a request whose model is one of the user's agents.

    ``counted`` is whether the request was counted against the rate limit for model calls.
    """

    def __init__(
        self, gateway: Gateway, context: RequestContext, trail: Trail, agent: OwnedAgent, *, counted: bool
    ) -> None:
        self._gateway = gateway
        self._context = context
        self._trail = trail
        self._agent = agent
        self._counted = counted

    async def answer(
        self, work: Work, body: Vetted, key: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request for a chat completion or a response.

        The parameters are removed from ``body``, to free the memory. Raise GatewayError if the request cannot be sent
        to an agent, or if the turn fails before the answer begins.
        """
        if work is Work.RESPONSES:
            refuse_parameters(body, RESPONSES)
            content = input_message(body["input"])
        else:
            refuse_parameters(body, CHAT)
            content = last_message(body["messages"])
        previous, streams = body.get("previous_response_id"), body.get("stream") is True
        wants_usage = (body.get("stream_options") or {}).get("include_usage") is True
        body.clear()
        conversation = await conversation_of(self._context, self._agent, scope, previous)
        message = Message(conversation=conversation, content=content, key=key, counted=self._counted)
        turn = AgentTurn(self._gateway, self._context, self._trail, message)
        if work is Work.RESPONSES:
            forms = _responses(ref_of(conversation), previous)
        else:
            forms = _chat(self._agent.agent_id, wants_usage=wants_usage)
        if streams:
            await turn.stream(scope, receive, send, forms.streamed)
        else:
            await turn.whole(scope, receive, send, forms.whole)


def _chat(model: str, *, wants_usage: bool) -> _Forms:
    return _Forms(
        lambda stream: ChatStream(model, *_identity(stream), wants_usage=wants_usage),
        lambda stream, pieces, ended: whole_chat(model, *_identity(stream), pieces, ended.usage),
    )


def _responses(conversation: ConversationRef, previous: str | None) -> _Forms:
    return _Forms(
        lambda stream: ResponseStream(response_head(conversation, stream, previous)),
        lambda stream, pieces, ended: whole_response(response_head(conversation, stream, previous), pieces, ended),
    )


def _identity(stream: Stream) -> tuple[str, int]:
    """Return a completion's id and time, which are the same for every reader of the turn."""
    return f"chatcmpl-{stream.id.removeprefix('stream:')}", int(stream.started_at.timestamp())
