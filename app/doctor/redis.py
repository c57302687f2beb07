"""Checks of Redis, in which replicas share their state."""

from __future__ import annotations

from app.doctor import network
from app.doctor.check import Check, Run
from app.doctor.findings import Finding, NotChecked, ok, problem, shown, warning
from app.doctor.identity import numbers_in
from app.doctor.installation import Installation
from app.doctor.redis_server import Refused
from app.doctor.servers import SKEW_SECONDS, skew
from clients.causes import cause_of
from clients.errors import Service
from clients.state.errors import StateUnavailable

OLDEST = (7, 0)
"""The oldest version of Redis with all commands that the gateway uses."""

FULL_SHARE = 0.9
"""The share of ``maxmemory`` in use above which Redis is almost full."""

_SAFE = "noeviction"
_URL_CURE = "Check the host, the port, the database number and the password in REDIS_URL and REDIS_PASSWORD."


async def _server(installation: Installation) -> Finding:
    try:
        await installation.redis_server().ping()
    except StateUnavailable as error:
        return problem(f"The gateway cannot use Redis: {cause_of(error) or shown(error)}.", _URL_CURE)
    except Refused as error:
        cure = "Set REDIS_PASSWORD, or a user and a password in REDIS_URL." if "NOAUTH" in str(error) else _URL_CURE
        return problem(f"Redis refuses a command: {shown(error)}.", cure)
    return ok("Redis answers.")


async def _info(installation: Installation) -> dict[str, str]:
    try:
        return await installation.redis_server().info()
    except Refused as error:
        raise NotChecked(f"Redis refuses the command INFO to the gateway's user: {shown(error)}.") from error


async def _version(installation: Installation) -> Finding:
    info = await _info(installation)
    text = info.get("redis_version", "")
    version = numbers_in(text)
    if not version:
        raise NotChecked("Redis does not tell its version.")
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {text}"
    if version < OLDEST:
        return problem(f"The server is {shown(name)}. The gateway needs Redis 7.0 or later.", "Upgrade Redis.")
    return ok(f"The server is {shown(name)}.")


async def _eviction(installation: Installation) -> Finding:
    info = await _info(installation)
    policy, limit = info.get("maxmemory_policy", _SAFE), int(info.get("maxmemory", 0))
    if policy == _SAFE:
        return ok(f"maxmemory-policy is {policy}.")
    found = f"maxmemory-policy is {shown(policy)}, so Redis can evict the keys of running streams and mutations."
    if not limit:
        found += " maxmemory is not set, so this happens only after it is."
    return (problem if limit else warning)(found, f"Set `maxmemory-policy {_SAFE}` in Redis.")


async def _memory(installation: Installation) -> Finding:
    info = await _info(installation)
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > FULL_SHARE * limit:
        return warning(
            f"Redis uses {used / limit:.0%} of its maxmemory of {limit:,} bytes. A full Redis stores no new streams.",
            "Raise `maxmemory` in Redis.",
        )
    return ok(f"Redis uses {used:,} bytes" + (f" of {limit:,}." if limit else "."))


async def _role(installation: Installation) -> Finding:
    info = await _info(installation)
    if info.get("role") == "slave":
        return problem(
            f"The server is a read-only replica of {shown(info.get('master_host'))}:{shown(info.get('master_port'))}.",
            "Set REDIS_URL to the primary.",
        )
    if info.get("cluster_enabled") == "1":
        return warning(
            "The server is a node of a Redis Cluster. The gateway is not tested with Redis Cluster.",
            "Set REDIS_URL to a Redis without cluster mode.",
        )
    return ok("The server is a primary.")


async def _commands(installation: Installation) -> Finding:
    try:
        await installation.redis_server().try_commands()
    except Refused as error:
        return problem(
            f"Redis refuses a command that the gateway uses: {shown(error)}.",
            "Give the user in REDIS_URL the keys `~agentgraph:*`, the channels `&agentgraph:*` and the commands "
            "`+@all -@dangerous`. A Redis without memory, or with a failed disk, refuses all writes.",
        )
    return ok("Redis executes the commands that the gateway uses.")


async def _clock(installation: Installation) -> Finding:
    try:
        ahead, took = await installation.redis_server().ahead()
    except Refused as error:
        raise NotChecked(f"Redis refuses the command TIME to the gateway's user: {shown(error)}.") from error
    return skew("Redis", max(0.0, abs(ahead) - took) * (1 if ahead > 0 else -1))


_SERVER = ("redis.server",)


def _after(name: str, looks_at: str, run: Run) -> Check:
    return Check(name=f"redis.{name}", looks_at=looks_at, run=run, needs=_SERVER)


CHECKS = (
    *network.checks_of(Service.REDIS),
    Check(
        name="redis.server",
        looks_at="a Redis that cannot be reached, a wrong password, an untrusted certificate",
        run=_server,
        needs=("redis.tls",),
    ),
    _after("version", "a Redis before 7.0", _version),
    _after("role", "a read-only replica, or a node of a cluster", _role),
    _after("eviction", f"another `maxmemory-policy` than `{_SAFE}`", _eviction),
    _after("memory", f"more than {FULL_SHARE:.0%} of `maxmemory` in use", _memory),
    _after("commands", "commands, keys or channels that Redis refuses to the gateway's user", _commands),
    _after("clock", f"a clock of Redis that differs from this machine's by more than {SKEW_SECONDS:g} s", _clock),
)
"""The checks of Redis."""
