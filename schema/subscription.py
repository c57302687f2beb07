"""The root type of subscriptions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry
from strawberry import ID

from resolvers import completing, turns
from resolvers.follow import follow
from resolvers.info import Info
from resolvers.owned import ref_of
from schema.arguments import EventCursor, FollowCursor, StreamKey
from schema.chat import CompletionInput
from schema.costs import SHARED, calls
from schema.inputs import SendMessageInput
from schema.safety import READS
from schema.stream import StreamEvent


@strawberry.type(
    description="The root of subscriptions. A subscription to a stream completes after its `StreamEnded` event."
)
class Subscription:
    @strawberry.subscription(
        directives=[SHARED],
        description="Reads a stream of the user, from its start or after a cursor. It starts nothing.",
        metadata=READS,
    )
    async def stream(
        self,
        info: Info,
        id: Annotated[ID, strawberry.argument(description="The stream's id.")],
        after: EventCursor = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Attach to a stream."""
        streams = info.context.resources.streams
        stream = streams.get(id, info.context.owner)
        replayed = stream.restarted or stream.was_read
        return turns.events(info.context, streams.attached(stream), after, replayed=replayed)  # type: ignore[return-value]

    @strawberry.subscription(
        directives=[calls(6)],
        description="Sends a message and reads the answer. A repeated subscription with the same `streamKey` attaches "
        "to the stream that the key started, so a client that reconnects sends no second message.",
    )
    async def message(
        self, info: Info, input: SendMessageInput, stream_key: StreamKey
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
        directives=[calls(2)], description="Starts a completion and reads it. `streamKey` works as in `message`."
    )
    async def completion(
        self, info: Info, input: CompletionInput, stream_key: StreamKey
    ) -> AsyncGenerator[StreamEvent, None]:
        """Start a completion, or attach to it."""
        context = info.context
        attached = await completing.start_completion(
            context, body=input.body(), on_disconnect=input.when_left(), key=stream_key
        )
        return turns.events(context, attached)  # type: ignore[return-value]

    @strawberry.subscription(
        directives=[calls(2)],
        description="Follows a conversation: sends the events of every turn, including turns that other clients "
        "start, each from `StreamStarted` to `StreamEnded`. It continues until the client ends it. To resume, "
        "subscribe with the last cursor as `after`; cursors of `stream` are not valid here.",
        metadata=READS,
    )
    async def conversation(
        self,
        info: Info,
        id: Annotated[ID, strawberry.argument(description="The conversation's id.")],
        after: FollowCursor = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Follow the turns of a conversation."""
        conversation = await info.context.access.conversation(id)
        return follow(info.context, ref_of(conversation), after)  # type: ignore[return-value]
