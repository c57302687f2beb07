"""The root type of mutations."""

from __future__ import annotations

import strawberry

from schema.mutations.agents import AgentMutations
from schema.mutations.completions import CompletionMutations
from schema.mutations.conversations import ConversationMutations
from schema.mutations.memory import MemoryMutations
from schema.mutations.templates import TemplateMutations
from schema.mutations.turns import MessageMutations, TurnMutations


@strawberry.type(
    description="The root of mutations. Payloads report outcomes that a user can act on "
    "in `errors`; all other failures are GraphQL errors."
)
class Mutation(
    AgentMutations,
    TemplateMutations,
    ConversationMutations,
    MessageMutations,
    CompletionMutations,
    TurnMutations,
    MemoryMutations,
):
    """The root of mutations, in the order of its parts."""
