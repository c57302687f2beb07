"""The kinds of records that the gateway caches, and the times for which the records are used."""

from dataclasses import dataclass

from clients.errors import Service
from clients.state.cache import Tag

FAILED_SECONDS = 600.0
"""How old a record can be that replaces a failed call, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of cached records. The times are in seconds, since the record's load began.

    Attributes:
        name: the kind's name in keys and metrics.
        reads: what is read, for the documentation.
        fresh: how long a record is used without a new call.
        revalidated: how long a record is used while a new call runs in the background.
        tags: the parts of the user's data that the record contains.
        is_secret: whether a record must not leave the process.
    """

    name: str
    service: Service
    reads: str
    fresh: float
    revalidated: float = 0.0
    tags: tuple[Tag, ...] = ()
    is_secret: bool = False

    @property
    def longest(self) -> float:
        """The time after which a record is of no use."""
        return max(self.revalidated, FAILED_SECONDS)


ACCOUNT = Kind(
    name="account",
    service=Service.AMS,
    reads="the user's profile with the virtual key, in process memory only",
    fresh=5,
    tags=(Tag.PROFILE,),
    is_secret=True,
)
PROFILE = Kind(
    name="profile",
    service=Service.AMS,
    reads="the user's profile and list of agents, without the virtual key",
    fresh=5,
    tags=(Tag.PROFILE,),
)
TEMPLATE = Kind(
    name="template",
    service=Service.AMS,
    reads="an agent's template",
    fresh=30,
    revalidated=300,
    tags=(Tag.TEMPLATES,),
)
AGENT = Kind(
    name="agent",
    service=Service.LETTA,
    reads="an agent's name, description, tags, model, memory blocks and tools",
    fresh=5,
    tags=(Tag.AGENTS,),
)
CONVERSATIONS = Kind(
    name="conversations",
    service=Service.LETTA,
    reads="the first page of an agent's conversations",
    fresh=3,
    tags=(Tag.CONVERSATIONS,),
)
MESSAGES = Kind(
    name="messages",
    service=Service.LETTA,
    reads="the newest page of a conversation's messages",
    fresh=3,
    tags=(Tag.CONVERSATIONS,),
)
MODELS = Kind(name="models", service=Service.LITELLM, reads="the models", fresh=60, revalidated=600)
MODEL_DETAILS = Kind(
    name="model_details", service=Service.LITELLM, reads="the models' details", fresh=300, revalidated=3600
)
KEY_INFO = Kind(
    name="key_info",
    service=Service.LITELLM,
    reads="the virtual key's budget",
    fresh=5,
    tags=(Tag.SPEND,),
)

KINDS = (ACCOUNT, PROFILE, TEMPLATE, AGENT, CONVERSATIONS, MESSAGES, MODELS, MODEL_DETAILS, KEY_INFO)
"""All kinds, in the order of the documentation."""
