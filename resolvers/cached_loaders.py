"""Loaders that read through the cache. Only queries use these loaders.

Only reads that name the user's own objects are cached. Otherwise, the number of upstream calls would show whether
another user's object exists.
"""

import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from clients.ams import Account, Profile, TemplateRecord
from clients.calls import CallScope
from clients.letta.messages import MessageRecord
from clients.letta.records import AgentState, ConversationRecord
from clients.letta.stored import StoredMessages
from clients.litellm import KeyInfo, ModelDetails, ModelRecord
from clients.owned import OwnedAgentId
from clients.state.cache import Tag, Versions
from clients.stored import Stored
from resolvers import loader_keys as keys
from resolvers.cache import kinds
from resolvers.cache.kinds import Kind
from resolvers.cache.policy import Cache
from resolvers.cache.reads import Loaded, Read, Source
from resolvers.cache.stale import Stale, StaleReads
from resolvers.loaders import Loaders, prime_all
from resolvers.loading import Joined, Lazy, Loader, one_by_one, settled
from resolvers.principal import Principal
from resolvers.resources import Resources

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ACCOUNT = Stored[Account](Account)
_PROFILE = Stored[Profile](Profile)
_TEMPLATE = Stored[TemplateRecord | None](TemplateRecord)
_AGENT = Stored[AgentState](AgentState)
_CONVERSATIONS = Stored[list[ConversationRecord]](list[ConversationRecord])
_MODELS = Stored[dict[str, ModelRecord]](dict[str, ModelRecord])
_MODEL_DETAILS = Stored[dict[str, ModelDetails]](dict[str, ModelDetails])
_KEY_INFO = Stored[KeyInfo](KeyInfo)


class _Key(msgspec.Struct):
    """The part of a cached ``Account`` that pays for a model call. The list of agents is not decoded."""

    litellm_key: str | None = None


class CachedKey(NamedTuple):
    """A user's virtual key in an account of the cache. ``None`` if the user has no key."""

    version: str
    began: float
    litellm_key: str | None


_KEY = msgspec.json.Decoder(_Key)


def cached_key(cache: Cache, user_id: str, versions: Versions) -> CachedKey | None:
    """Return the user's virtual key, if the process's memory has a fresh account. Each account is decoded once."""
    entry = cache.fresh(kinds.ACCOUNT, user_id, "", versions, _ACCOUNT.shape)
    if entry is None:
        return None
    known = cache.keys.get(user_id)
    if known is None or known.began != entry.began or known.version != entry.version:
        known = CachedKey(entry.version, entry.began, _KEY.decode(entry.value).litellm_key)
        cache.keys.put(user_id, known)
    return known


class _CachedLoader(Loader[K, V]):
    """A loader that looks for a key's record before it loads the record, and reports stale records.

    Args:
        hit: returns a key's record without waiting, if the process has a fresh record.
        reads: receives each field that has read a stale record.
        stale: the loaded records that are stale, by key.
    """

    __slots__ = ("_hit", "_reads", "_stale")

    def __init__(
        self, *args: Any, hit: Callable[[K], Read[V] | None], reads: StaleReads, stale: dict[K, Stale], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._hit = hit
        self._reads = reads
        self._stale = stale

    def join(self, key: K) -> Joined[K, V]:
        """Return a load of the key, which has ended if the process has a fresh record."""
        if not self.has(key) and (read := self._hit(key)) is not None:
            self.prime(key, read.value)
        return super().join(key)

    def is_stale(self, _key: K) -> bool:
        """Return whether the key's loaded record is stale."""
        return _key in self._stale

    def report(self, _key: K) -> None:
        """Report that the current field has read the key's stale record."""
        self._reads.note(self._stale[_key])


class Cached(Lazy[K, V]):
    """A descriptor like ``Lazy``, for a loader that reads through the cache.

    Args:
        read: reads a key's record.
        hit: returns a key's record without waiting, if the process has a fresh record.
    """

    def __init__(
        self,
        read: Callable[[Any, K], Awaitable[Read[V]]],
        hit: Callable[[Any, K], Read[V] | None] = lambda _instance, _key: None,
    ) -> None:
        async def batch(instance: Any, keys: list[K]) -> list[V | Exception]:
            return [
                one if isinstance(one, Exception) else self._value(instance, key, one)
                for key, one in zip(keys, await settled(read(instance, key) for key in keys), strict=True)
            ]

        super().__init__(batch)
        self._hit = hit

    def __get__(self, instance: Any, owner: type) -> Loader[K, V]:
        make = partial(
            _CachedLoader,
            hit=partial(self._hit, instance),
            reads=instance.stale_reads,
            stale=self._stale_of(instance),
        )
        return self.loader(instance, make)

    def _value(self, instance: Any, key: K, read: Read[V]) -> V:
        if read.stale is not None:
            self._stale_of(instance)[key] = read.stale
        return read.value

    def _stale_of(self, instance: Any) -> dict[K, Stale]:
        found: dict[K, Stale] = instance.stale.setdefault(self, {})
        return found


class CachedLoaders(Loaders):
    """The loaders of one query.

    Args:
        scope: the scope of the operation's upstream calls.
        versions: the versions of the user's tags, if the operation has read them.
        stale_reads: receives the fields that have read stale records.
    """

    def __init__(
        self,
        resources: Resources,
        cache: Cache,
        principal: Principal,
        scope: CallScope,
        *,
        versions: Versions | None,
        stale_reads: StaleReads,
    ) -> None:
        super().__init__(resources, principal, scope)
        self._cache = cache
        self._source = Loaders(resources, principal, scope)
        self._known = versions
        self._current: Versions | None = None
        self._began = cache.clock()
        self._has_read_cache = False
        self.stale_reads = stale_reads
        self.stale: dict[object, dict[Any, Stale]] = {}

    @property
    def uncached(self) -> Loaders | None:
        """Loaders that do not read from the cache, if one of these loaders has read from the cache."""
        return self._source if self._has_read_cache else None

    async def report_outdated(self, *tags: Tag) -> None:
        """Drop cached records, because a service has newer data."""
        await self._cache.drop(self._principal.user_id, tags)

    async def _versions(self, user_id: str) -> Versions:
        return await self._cache.versions(user_id, self._known)

    async def _read(
        self,
        kind: Kind,
        key: str,
        stored: Stored[V],
        load: Callable[[Loaders], Awaitable[V]],
        keeps: Callable[[V], bool] = lambda _: True,
    ) -> Read[V]:
        return await self._read_from(
            kind,
            key,
            Source(
                stored,
                lambda: self._loaded(load(self._source)),
                lambda: self._loaded(load(self._renewed())),
                keeps,
                self.deadline,
            ),
        )

    def _hit(self, kind: Kind, key: str, stored: Stored[V]) -> Read[V] | None:
        """Return a fresh record from the process's memory, if the operation has read the versions already."""
        if self._current is None:
            return None
        read = self._cache.hit(kind, self._principal.user_id, key, self._current, stored)
        if read is not None:
            self._has_read_cache |= read.began < self._began
        return read

    async def _read_from(self, kind: Kind, key: str, source: Source[V]) -> Read[V]:
        if self._current is None:
            self._current = await self._versions_read.load(self._principal.user_id)
        read = await self._cache.read(kind, self._principal.user_id, key, self._current, source)
        self._has_read_cache |= read.began < self._began
        return read

    async def _loaded(self, value: Awaitable[V]) -> Loaded[V]:
        began = self._cache.clock()
        return Loaded(await value, began)

    def _renewed(self) -> Loaders:
        """Return loaders whose calls continue after the operation, and do not count for the operation."""
        deadline = time.monotonic() + self._resources.timeouts.request
        return Loaders(self._resources, self._principal, replace(self._scope, deadline=deadline, budget=None))

    async def _read_account(self, user_id: str) -> Read[Account]:
        return await self._read(kinds.ACCOUNT, "", _ACCOUNT, lambda source: source.account.load(user_id))

    async def _read_profile(self, user_id: str) -> Read[Profile]:
        """Read the profile. Replicas share profiles, but not accounts."""
        if not self._cache.has_shared_records:
            read = await self._read_account(user_id)
            return Read(read.value.profile, read.began, read.stale)
        source = Source(
            _PROFILE,
            lambda: self._profile_from(self._source),
            lambda: self._profile_from(self._renewed()),
            deadline=self.deadline,
        )
        return await self._read_from(kinds.PROFILE, "", source)

    async def _profile_from(self, source: Loaders) -> Loaded[Profile]:
        """Return the profile of a fresh account, so that equal reads of both make one call."""
        user_id = self._principal.user_id
        fresh = Source(_ACCOUNT, lambda: self._loaded(source.account.load(user_id)), deadline=source.deadline)
        read = await self._read_from(kinds.ACCOUNT, "", fresh)
        return Loaded(read.value.profile, read.began)

    async def _read_template(self, slug: str) -> Read[TemplateRecord | None]:
        return await self._read(kinds.TEMPLATE, slug, _TEMPLATE, lambda source: source.template.load(slug), _is_known)

    async def _read_agent(self, agent_id: OwnedAgentId) -> Read[AgentState]:
        return await self._read(kinds.AGENT, agent_id, _AGENT, lambda source: source.agent_state.load(agent_id))

    def _hit_agent(self, agent_id: OwnedAgentId) -> Read[AgentState] | None:
        return self._hit(kinds.AGENT, agent_id, _AGENT)

    async def _read_conversations(self, key: keys.ConversationWindow) -> Read[list[ConversationRecord]]:
        if key.after is not None or key.search is not None:
            read = await self._uncached(self._source.conversations.load(key))
        else:
            name = f"{key.agent_id}:{key.limit}"
            read = await self._read(
                kinds.CONVERSATIONS, name, _CONVERSATIONS, lambda source: source.conversations.load(key)
            )
        prime_all(self.conversation, read.value)
        return read

    async def _read_messages(self, key: keys.MessageWindow) -> Read[list[MessageRecord]]:
        if key != keys.MessageWindow(key.conversation, key.limit):
            return await self._uncached(self._source.messages.load(key))
        stored = StoredMessages(key.conversation)
        return await self._read(kinds.MESSAGES, _name(key), stored, lambda source: source.messages.load(key))

    def _hit_messages(self, key: keys.MessageWindow) -> Read[list[MessageRecord]] | None:
        if key != keys.MessageWindow(key.conversation, key.limit):
            return None
        return self._hit(kinds.MESSAGES, _name(key), StoredMessages(key.conversation))

    async def _read_models(self, key: str) -> Read[dict[str, ModelRecord]]:
        return await self._read(kinds.MODELS, _digest(key), _MODELS, lambda source: source.models.load(key))

    async def _read_model_details(self, key: str) -> Read[dict[str, ModelDetails]]:
        return await self._read(
            kinds.MODEL_DETAILS, _digest(key), _MODEL_DETAILS, lambda source: source.model_details.load(key)
        )

    async def _read_key_info(self, key: str) -> Read[KeyInfo]:
        return await self._read(kinds.KEY_INFO, _digest(key), _KEY_INFO, lambda source: source.key_info.load(key))

    async def _uncached(self, value: Awaitable[V]) -> Read[V]:
        return Read(await value, self._cache.clock())

    _versions_read = one_by_one(_versions)
    account = Cached(_read_account)
    profile = Cached(_read_profile)
    template = Cached(_read_template)
    agent_state = Cached(_read_agent, _hit_agent)
    conversations = Cached(_read_conversations)
    messages = Cached(_read_messages, _hit_messages)
    models = Cached(_read_models)
    model_details = Cached(_read_model_details)
    key_info = Cached(_read_key_info)


def _name(key: keys.MessageWindow) -> str:
    """Return the name of the newest page of a conversation's messages."""
    return f"{key.conversation.agent_id}:{key.conversation}:{key.limit}"


def _is_known(template: TemplateRecord | None) -> bool:
    """Return whether AMS has described a template."""
    return template is not None and template.described


def _digest(key: str) -> str:
    """Return a digest of a virtual key. The key itself never leaves the process's memory."""
    return blake2b(key.encode(), digest_size=16, person=b"agentgraph.cache").hexdigest()
