"""The cached data that each mutation changes.

A turn changes data until its end, so the turn's source also drops these tags.
"""

from clients.state.cache import Tag

TURN = (Tag.AGENTS, Tag.CONVERSATIONS, Tag.SPEND)
"""What a turn changes: its messages, its cost, and the memory blocks that the agent edits."""

CHANGES: dict[str, tuple[Tag, ...]] = {
    "createAgent": (Tag.PROFILE, Tag.AGENTS, Tag.CONVERSATIONS),
    "upgradeAgent": (Tag.PROFILE, Tag.AGENTS),
    "updateAgent": (Tag.AGENTS,),
    "deleteAgent": (Tag.PROFILE, Tag.AGENTS, Tag.CONVERSATIONS),
    "publishTemplate": (Tag.TEMPLATES,),
    "createConversation": (Tag.CONVERSATIONS,),
    "updateConversation": (Tag.CONVERSATIONS,),
    "forkConversation": (Tag.CONVERSATIONS,),
    "deleteConversation": TURN,
    "sendMessage": TURN,
    "respondToApproval": TURN,
    "cancelRun": TURN,
    "complete": (Tag.SPEND,),
    "embed": (Tag.SPEND,),
    "updateMemoryBlock": (Tag.AGENTS,),
    "startCompletion": (),
    "cancelStream": (),
    "insertPassage": (),
    "deletePassage": (),
    "revokeSession": (),
}
"""The tags that each mutation drops, by the mutation's name."""
