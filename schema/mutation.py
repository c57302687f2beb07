"""The root of what can be done."""

from __future__ import annotations

import strawberry

from schema.mutations.agents import AgentMutations
from schema.mutations.completions import CompletionMutations
from schema.mutations.conversations import ConversationMutations
from schema.mutations.memory import MemoryMutations
from schema.mutations.templates import TemplateMutations
from schema.mutations.turns import TurnMutations


@strawberry.type(description="What can be done.")
class Mutation(
    MemoryMutations, CompletionMutations, ConversationMutations, TurnMutations, AgentMutations, TemplateMutations
):
    """The root of mutations, from its parts."""
