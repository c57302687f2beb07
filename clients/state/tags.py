"""Reads the versions of a user's cache tags in Redis. The scripts of the cache and of the rate limits use this code."""

from typing import Any

from clients.state.cache import Versions
from clients.state.names import CACHE_TAGS

TAGS_MILLISECONDS = CACHE_TAGS.milliseconds

READ_TAGS = """
local function cache_tags(key, epoch, life)
  local tags = redis.call('HGETALL', key)
  if #tags == 0 then
    redis.call('HSET', key, 'epoch', epoch)
    redis.call('PEXPIRE', key, life)
    return {'epoch', epoch}
  end
  if redis.call('PTTL', key) < life / 2 then
    redis.call('PEXPIRE', key, life)
  end
  return tags
end
"""
"""A Lua function that returns the versions of a user's tags. Scripts for other purposes can include the function."""


def versions_of(reply: Any) -> Versions:
    """Return the versions in the reply of ``cache_tags``."""
    flat = [one.decode() for one in reply]
    found = dict(zip(flat[::2], flat[1::2], strict=True))
    return Versions(found.pop("epoch"), found)
