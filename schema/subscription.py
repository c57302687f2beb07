"""What can be followed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry
from strawberry import ID

from resolvers import completing, turns
from resolvers.access import scope_of
from resolvers.follow import follow
from resolvers.info import Info
from schema.arguments import EventCursor, FollowCursor, StreamKey
from schema.chat import CompletionInput
from schema.costs import SHARED, calls
from schema.inputs import SendMessageInput
from schema.safety import READS
from schema.stream import StreamEvent


@strawberry.type(description="What can be followed. A subscription to one stream ends with its `StreamEnded`.")
class Subscription:
    """The root of subscriptions."""

    @strawberry.subscription(
        directives=[SHARED],
        description="Read a stream of yours, from its start or after a cursor. No side effect.",
        metadata=READS,
    )
    async def stream(
        self,
        info: Info,
        id: Annotated[ID, strawberry.argument(description="The stream's id.")],  # noqa: A002 - the name in the graph
        after: EventCursor = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Attach to a stream."""
        streams = info.context.resources.streams
        stream = streams.get(id, info.context.principal.user_id)
        replayed = stream.restarted or stream.was_read
        return turns.events(info.context, streams.attached(stream), after, replayed=replayed)  # type: ignore[return-value]

    @strawberry.subscription(
        directives=[calls(6)],
        description="Send a message and read the answer. `streamKey` is yours to choose: the same key again attaches "
        "to what it has started, so that a client which re-sends its subscription never pays twice.",
    )
    async def message(
        self,
        info: Info,
        input: SendMessageInput,  # noqa: A002 - the name in the graph
        stream_key: StreamKey,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Start a turn, or attach to it."""
        context = info.context
        attached = await turns.send_message(
            context,
            agent_id=input.to.agent_id or None,
            conversation_id=input.to.conversation_id or None,
            content=input.parts(),
            on_disconnect=input.when_left(),
            key=stream_key,
        )
        return turns.events(context, attached)  # type: ignore[return-value]

    @strawberry.subscription(
        directives=[calls(2)],
        description="Ask a model for a completion and read it. `streamKey` works as for `message`.",
    )
    async def completion(
        self,
        info: Info,
        input: CompletionInput,  # noqa: A002 - the name in the graph
        stream_key: StreamKey,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Start a completion, or attach to it."""
        context = info.context
        attached = await completing.start_completion(
            context, body=input.body(), on_disconnect=input.when_left(), key=stream_key
        )
        return turns.events(context, attached)  # type: ignore[return-value]

    @strawberry.subscription(
        directives=[calls(2)],
        description="Follow a conversation: whatever turn is or becomes active in it, wherever it was begun (another "
        "tab, another client), each from its `StreamStarted` to its `StreamEnded`. It goes on until you leave. Its "
        "cursors are its own: subscribe `after` the last one and nothing is lost or doubled.",
        metadata=READS,
    )
    async def conversation(
        self,
        info: Info,
        id: Annotated[ID, strawberry.argument(description="The conversation's id.")],  # noqa: A002 - as above
        after: FollowCursor = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Read one turn after another."""
        conversation = await info.context.access.conversation(id)
        scope = scope_of(conversation)
        return follow(info.context, scope, conversation.agent_id, after)  # type: ignore[return-value]
