"""Makes the sources with which this process continues streams whose process has stopped (decision 0062)."""

from collections.abc import AsyncGenerator, Iterable

from clients.codes import Reason
from clients.errors import Interrupted
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.owned import conversation_of_stream, run_of_stream
from resolvers.principal import principal_of_stream
from resolvers.resources import Resources
from resolvers.sources.lookup import LostTurn
from resolvers.sources.positions import ResumePoint, resume_point
from resolvers.sources.recipes import COMPLETION, TurnRecipe, decode_recipe
from resolvers.sources.turns import LettaSource
from resolvers.streams.events import Batch, Ended, Entry, Started, StreamFailure, StreamOutcome, batch_of
from resolvers.streams.log import StreamLog
from resolvers.streams.stream import Source


def resumed_source(resources: Resources, recipe: bytes, entries: Iterable[Entry]) -> Source:
    """Return a source that yields the events that a stream's log lacks.

    Args:
        resources: this process's shared objects.
        recipe: ``Source.recipe()`` of the stopped process.
        entries: all entries of the log, unmerged. The log has no end.

    Returns:
        For a turn, a source that reads the run again. For a completion, a source that yields only the failed end.

    Raises:
        NotFound: the recipe has a malformed id.
    """
    made, point = decode_recipe(recipe), resume_point(entries)
    if isinstance(made, TurnRecipe):
        return _resumed_turn(resources, made, point)
    return _LostCompletion(has_started=point.has_started)


def _resumed_turn(resources: Resources, recipe: TurnRecipe, point: ResumePoint) -> LettaSource:
    conversation = conversation_of_stream(recipe.agent_id, recipe.conversation_id)
    named = point.run_id or recipe.run_id
    run_id = None if named is None else run_of_stream(conversation, named)
    lost = LostTurn(otid=recipe.otid, run_id=run_id, began=recipe.began)
    principal = principal_of_stream(recipe.user_id)
    context = RequestContext(resources, principal, recipe.request_id, recipe.traceparent, origin=recipe.origin)
    return LettaSource(context, conversation, lost, max_cost=recipe.max_cost, point=point, cancels=recipe.cancels)


def lost_completion() -> Ended:
    """Return the end of a completion whose process has stopped.

    The usage is unknown, since LiteLLM may have sent the stopped process more than the log has (decision 0062).
    """
    error = Interrupted(
        "The gateway process that read the model's answer has stopped, so the answer is incomplete. You may have been "
        "charged for the answer. To request the answer again, use a new key.",
        reason=Reason.OWNER_LOST,
    )
    return Ended(outcome=StreamOutcome.FAILED, error=StreamFailure.of(error))


class _LostCompletion:
    """The source of a completion whose process has stopped. The text that has arrived stays in the log."""

    def __init__(self, *, has_started: bool) -> None:
        self._has_started = has_started
        self.mark = 0
        self.run_id: str | None = None
        self.usage: Usage | None = None
        self.headers: dict[str, str] = {}

    def recipe(self) -> bytes:
        """Return the data with which another process can end the stream."""
        return COMPLETION

    async def events(self) -> AsyncGenerator[Batch]:
        """Yield the end."""
        if not self._has_started:
            yield batch_of(Started())
        yield batch_of(lost_completion())

    async def settle(self, log: StreamLog) -> None:
        """Do nothing, because the stopped process has reserved the tokens."""

    async def abandoned(self) -> None:
        """Do nothing, because no call is open."""
