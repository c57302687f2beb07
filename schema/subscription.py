"""The root type of subscriptions."""

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry
from strawberry import ID

from resolvers import completing, turns
from resolvers.follow import follow
from resolvers.info import Info
from resolvers.owned import ref_of
from schema.access import SIGNED_IN
from schema.arguments import EventCursor, FollowCursor, StreamKey
from schema.chat import CompletionInput
from schema.costs import SHARED, calls
from schema.inputs import SendMessageInput
from schema.safety import READS
from schema.stream import StreamEvent


@strawberry.type(
    description="The root type of subscriptions. A subscription to one stream completes after the `StreamEnded` event."
)
class Subscription:
    @strawberry.subscription(
        directives=[SIGNED_IN, SHARED],
        description="Returns the events of one of the user's streams, without starting a turn or completion.",
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
        stream = await streams.get(id, info.context.owner)
        replayed, after = stream.restarted or stream.was_read, info.context.resumed_after or after
        return turns.Events(info.context, streams.attached(stream), after, replayed=replayed)  # type: ignore[return-value]

    @strawberry.subscription(
        directives=[SIGNED_IN, calls(9)],
        description="Sends a message to an agent and returns the events of the answer. If the `streamKey` was used "
        "before, the subscription sends no second message, and reads the existing stream.",
    )
    async def message(
        self, info: Info, input: SendMessageInput, stream_key: StreamKey
    ) -> AsyncGenerator[StreamEvent, None]:
        """Start an agent's turn, or attach to the turn's stream."""
        context = info.context
        attached = await turns.send_message(
            context,
            agent_id=input.to.agent_id or None,
            conversation_id=input.to.conversation_id or None,
            content=input.parts(),
            max_cost=input.max_cost(),
            on_disconnect=input.when_left(),
            key=stream_key,
        )
        return turns.Events(context, attached)  # type: ignore[return-value]

    @strawberry.subscription(
        directives=[SIGNED_IN, calls(4)],
        description="Starts a completion and returns the events of the answer. If the `streamKey` was used before, "
        "the subscription reads the existing stream.",
    )
    async def completion(
        self, info: Info, input: CompletionInput, stream_key: StreamKey
    ) -> AsyncGenerator[StreamEvent, None]:
        """Start a completion, or attach to the completion's stream."""
        context = info.context
        attached = await completing.start_completion(
            context,
            body=input.body(),
            on_disconnect=input.when_left(),
            key=stream_key,
            max_cost=input.max_cost(),
        )
        return turns.Events(context, attached)  # type: ignore[return-value]

    @strawberry.subscription(
        directives=[SIGNED_IN, calls(2)],
        description="Returns the events of a conversation's turns, including turns that other clients start. Each "
        "turn begins with `StreamStarted` and ends with `StreamEnded`. The subscription continues until the client "
        "ends it. To resume, subscribe with the last cursor as `after`. Cursors from the `stream` subscription are "
        "not valid.",
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
        return follow(info.context, ref_of(conversation), info.context.resumed_after or after)  # type: ignore[return-value]
