"""The root type of mutations."""

import strawberry

from schema.mutations.agents import AgentMutations
from schema.mutations.completions import CompletionMutations
from schema.mutations.conversations import ConversationMutations
from schema.mutations.memory import MemoryMutations
from schema.mutations.sessions import SessionMutations
from schema.mutations.templates import TemplateMutations
from schema.mutations.turns import MessageMutations, TurnMutations


@strawberry.type(
    description="The root type of mutations. A payload's `errors` has failures that the user can resolve. All other "
    "failures are GraphQL errors."
)
class Mutation(
    AgentMutations,
    TemplateMutations,
    ConversationMutations,
    MessageMutations,
    CompletionMutations,
    TurnMutations,
    MemoryMutations,
    SessionMutations,
):
    """The root type of mutations. Its fields have the order of the base classes."""
