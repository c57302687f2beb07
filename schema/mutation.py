"""The root of what can be done."""

from __future__ import annotations

import strawberry

from schema.mutations.agents import AgentMutations
from schema.mutations.completions import CompletionMutations
from schema.mutations.conversations import ConversationMutations
from schema.mutations.memory import MemoryMutations
from schema.mutations.templates import TemplateMutations
from schema.mutations.turns import MessageMutations, TurnMutations


@strawberry.type(description="What can be done.")
class Mutation(
    AgentMutations,
    TemplateMutations,
    ConversationMutations,
    MessageMutations,
    CompletionMutations,
    TurnMutations,
    MemoryMutations,
):
    """The root of mutations, from its parts in their order."""
