"""Recognises the names of agents among the names of models, and finds the conversation of a request."""

from __future__ import annotations

from starlette.types import Scope

from app.asgi import header
from app.rest.agents.response_ids import agent_response
from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.letta.ids import is_letta_id
from clients.origin import Origin
from resolvers.context import RequestContext
from resolvers.owned import OwnedAgent, OwnedConversation, default_conversation, not_found

CONVERSATION = "x-conversation-id"
"""The header with a conversation's GraphQL id, in requests and in answers."""

_FOREIGN = "`previous_response_id` is not the id of a response of this agent. Check the id."


def names_agent(context: RequestContext, model: str) -> bool:
    """Return whether a model's name is formatted like an agent's id.

    Letta gets no agents as models, because an agent could then call itself.
    """
    return context.origin is not Origin.LETTA and is_letta_id(model, "agent")


async def agent_named(context: RequestContext, model: str) -> OwnedAgent | None:
    """Return the user's agent whose id is the model's name.

    Returns:
        The agent, or ``None`` for any other name, which LiteLLM then judges. So another user's agent is answered like a
        model that does not exist.
    """
    if not names_agent(context, model):
        return None
    try:
        return await context.access.agent(model)
    except NotFound:
        return None


async def conversation_of(
    context: RequestContext, agent: OwnedAgent, scope: Scope, previous: str | None = None
) -> OwnedConversation:
    """Return the conversation of a request to an agent.

    The conversation is that of the response ``previous``, or the one that the header ``X-Conversation-Id`` names, or
    else the agent's default conversation.

    Raises:
        NotFound: the conversation does not exist, or belongs to another user or agent.
        BadUserInput: reason ``PREVIOUS_RESPONSE_NOT_FOUND``, for an id that is not of a response of this agent; or the
            header names a different conversation.
    """
    named = header(scope, CONVERSATION.encode())
    if previous is not None:
        return await _continued(context, agent, previous, named)
    if not named:
        return default_conversation(agent.agent_id)
    return await _of_agent(context, agent, named)


async def _continued(context: RequestContext, agent: OwnedAgent, previous: str, named: str | None) -> OwnedConversation:
    found = agent_response(previous)
    if found is None:
        raise _unknown(_FOREIGN)
    try:
        conversation = await _of_agent(context, agent, found.conversation_id)
    except NotFound as error:
        raise _unknown(_FOREIGN) from error
    if named and named != conversation.id:
        raise _unknown("`previous_response_id` and X-Conversation-Id name different conversations. Omit one.")
    return conversation


async def _of_agent(context: RequestContext, agent: OwnedAgent, conversation_id: str) -> OwnedConversation:
    conversation = await context.access.conversation(conversation_id)
    if conversation.agent_id != agent.agent_id:
        raise not_found("conversation")
    return conversation


def _unknown(message: str) -> BadUserInput:
    return BadUserInput(message, reason=Reason.PREVIOUS_RESPONSE_NOT_FOUND, details={"param": "previous_response_id"})
