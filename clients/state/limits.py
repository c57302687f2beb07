"""Limits each user's requests with counters in Redis, which all replicas share.

If Redis does not answer, the process continues with the counters that it knows (decision 0063).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from clients.limiter import Charge, Counter, MemoryLimiter, Verdict, check_possible, standings_of
from clients.state.errors import StateUnavailable
from clients.state.names import CACHE_TAGS, COUNTERS
from clients.state.scripts import Script
from clients.state.tags import READ_TAGS, TAGS_MILLISECONDS, versions_of

if TYPE_CHECKING:  # redis-py is imported only if it is used
    from clients.state.connection import RedisConnection
    from clients.state.link import Argument

SERVER_CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
"""Lua code that sets ``now`` to Redis's time, in milliseconds."""

_TAKE = """
local function counter_of(stored, window)
  local index = math.floor(now / window)
  if not stored then return {index, 0, 0} end
  local at, current, before = string.match(stored, '(%d+) (%d+) (%d+)')
  at, current, before = tonumber(at), tonumber(current), tonumber(before)
  if index == at or index == at - 1 then return {at, current, before} end
  return {index, 0, index == at + 1 and current or 0}
end

local function room_of(counter, limit, window)
  return math.floor(((limit - counter[2]) * window - counter[3] * (window - now % window)) / window)
end

local function add(counter, cost, corrected)
  if cost >= 0 or not corrected then
    counter[2] = counter[2] + cost
    if counter[2] < 0 then counter[2], counter[3] = 0, math.max(0, counter[3] + counter[2]) end
  elseif corrected == counter[1] then
    counter[2] = math.max(0, counter[2] + cost)
  elseif corrected == counter[1] - 1 then
    counter[3] = math.max(0, counter[3] + cost)
  end
end

local function take()
  local names, counters, costs, changes, allowed, idle = {}, {}, {}, {}, 1, 0
  for i = 1, #ARGV, 6 do names[#names + 1] = ARGV[i] end
  local stored = redis.call('HMGET', KEYS[1], unpack(names))
  for i = 1, #names do
    local limit, window = tonumber(ARGV[6 * i - 4]), tonumber(ARGV[6 * i - 3])
    local cost, needed = tonumber(ARGV[6 * i - 2]), tonumber(ARGV[6 * i - 1])
    counters[i] = counter_of(stored[i], window)
    if needed > 0 then
      local room = room_of(counters[i], limit, window)
      if needed > room then allowed = 0 end
      cost = math.min(cost, room)
    end
    costs[i], idle = cost, math.max(idle, 2 * window - now % window)
  end
  for i = 1, #names do
    costs[i] = costs[i] * allowed
    add(counters[i], costs[i], tonumber(ARGV[6 * i]))
    if costs[i] > 0 or (costs[i] < 0 and stored[i]) then
      changes[#changes + 1] = names[i]
      changes[#changes + 1] = string.format('%.0f %.0f %.0f', unpack(counters[i]))
    end
  end
  if #changes > 0 then
    redis.call('HSET', KEYS[1], unpack(changes))
    if redis.call('PTTL', KEYS[1]) < idle then redis.call('PEXPIRE', KEYS[1], idle) end
  end
  return {allowed, now, counters, costs}
end

local epoch = KEYS[2] and table.remove(ARGV)
local answer = take()
if epoch then answer[5] = cache_tags(KEYS[2], epoch, LIFE) end
return answer
"""
"""Like ``MemoryLimiter.take``.

The hash ``KEYS[1]`` has a user's counters: window, its charges, the charges before.

``KEYS[2]`` is the key of the user's cache tags, whose versions are read in the same round trip."""


class RedisLimiter:
    """A rate limiter that keeps counters in Redis.

    The process stores the counters that Redis has returned. If Redis does not answer, the process charges these
    counters by itself until Redis answers again. For such a charge, ``Standing.window`` is negative. So a refund does
    not reduce counters in Redis that the charge has not increased. If Redis refuses writes, Redis can still answer
    reads, whose results do not reduce the process's own counters.

    Args:
        clock: Lua code that sets ``now``, in milliseconds.
    """

    def __init__(self, redis: RedisConnection, clock: str = SERVER_CLOCK) -> None:
        self._redis = redis
        self._script = Script(clock + READ_TAGS + _TAKE.replace("LIFE", str(TAGS_MILLISECONDS)))
        self._ahead = time.time_ns() - time.monotonic_ns()
        self._known = MemoryLimiter(self._server_time)

    @property
    def kept(self) -> int:
        """The number of counters that this process knows."""
        return self._known.kept

    async def take(self, user: str, charges: Sequence[Charge], *, tags: bool = False) -> Verdict:
        """Apply all charges to a user's budgets, or apply none of the charges.

        If ``tags`` is true, also read the versions of the user's cache tags.
        """
        check_possible(charges)
        if not charges:
            return Verdict(allowed=True, standings=(), charged=())
        keys, arguments = [COUNTERS.key(user)], _arguments(charges)
        if tags:
            keys.append(CACHE_TAGS.key(user))
            arguments.append(uuid.uuid4().hex)
        try:
            answer = await self._redis.script(self._script, keys, arguments)
        except StateUnavailable:
            return await self._take_alone(user, charges)
        allowed, now, stored, charged, *found = answer
        self._ahead = now * 1_000_000 - time.monotonic_ns()
        counters = [_counter(charge, one) for charge, one in zip(charges, stored, strict=True)]
        waits = [
            0 if allowed else counter.wait(charge.budget.limit, charge.needed, now)
            for charge, counter in zip(charges, counters, strict=True)
        ]
        standings = standings_of(counters, charges, waits, now)
        for charge, counter, cost in zip(charges, counters, charged, strict=True):
            self._known.put(user, charge.budget, counter, is_charged=cost != 0)
        return Verdict(bool(allowed), standings, tuple(charged), versions_of(found[0]) if found else None)

    async def _take_alone(self, user: str, charges: Sequence[Charge]) -> Verdict:
        verdict = await self._known.take(user, [_as_known(charge) for charge in charges])
        standings = tuple(replace(standing, window=~standing.window) for standing in verdict.standings)
        return replace(verdict, standings=standings)

    def _server_time(self) -> int:
        return time.monotonic_ns() + self._ahead


def _arguments(charges: Sequence[Charge]) -> list[Argument]:
    arguments: list[Argument] = []
    for charge in charges:
        budget, window = charge.budget, "" if charge.window is None else charge.window
        arguments += [budget.name, budget.limit, budget.window * 1000, charge.cost, charge.needed, window]
    return arguments


def _counter(charge: Charge, stored: list[int]) -> Counter:
    index, now, before = stored
    return Counter(charge.budget.window * 1000, index, now, before)


def _as_known(charge: Charge) -> Charge:
    """Return a charge with the window's number in the process's own counters."""
    return charge if charge.window is None or charge.window >= 0 else replace(charge, window=~charge.window)
