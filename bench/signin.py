"""Sign-in: the time to verify a cached token, and the latency of valid requests beside tokens with unknown keys."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from app import devtokens
from app.embedded.people import ADA
from app.embedded.supabase.signing import ALGORITHM, LIFETIME_SECONDS, claims_of
from app.signin.authenticator import Authenticator
from app.signin.issuer import IssuerKeys
from app.signin.keys import VerifyingKey, public_keys
from bench.load import Answered, Request, at_pace
from bench.support import Options, Table, apart, gateway, percentile, token, upstreams

MOST_MICROSECONDS = 2.0
BATCH, BATCHES = 2_000, 500

REFUSED = 1_000
SECONDS = 5.0
VALID_PER_SECOND = 50
MOST_RATIO = 1.1


async def run(options: Options) -> Table:
    """Measure the verification of a cached token, then both loads alternately."""
    table = Table("Sign-in", ("what", "p50", "p99"))
    cached = await _cached_microseconds()
    table.rows.append(("cached token, us", f"{cached:.2f}", ""))
    table.targets[f"a cached token costs {cached:.2f} us ({MOST_MICROSECONDS})"] = cached <= MOST_MICROSECONDS
    rounds = [(await _valid(_expired), await _valid(_unknown)) for _ in range(options.rounds)]
    for name, side in (("expired tokens", 0), ("unknown keys, issuer hangs", 1)):
        taken = [one.seconds * 1000 for pair in rounds for one in pair[side]]
        table.rows.append((f"valid requests beside {REFUSED} {name}, ms", *_percentiles(taken)))
    ratio = statistics.median(_median(unknown) / _median(expired) for expired, unknown in rounds)
    refused = sum(one.status != 200 for pair in rounds for side in pair for one in side)
    table.targets |= {
        f"unknown keys delay valid requests by {ratio:.2f} of what expired tokens do ({MOST_RATIO})": ratio
        <= MOST_RATIO,
        f"{refused} valid requests were refused (0)": refused == 0,
    }
    return table


def _percentiles(milliseconds: list[float]) -> tuple[str, str]:
    return f"{percentile(milliseconds, 0.5):.2f}", f"{percentile(milliseconds, 0.99):.2f}"


def _median(answers: list[Answered]) -> float:
    return statistics.median(one.seconds for one in answers)


async def _cached_microseconds() -> float:
    """Return the time of one verification in the fastest batch. Other processes delay the slower batches."""
    key = devtokens.signing_key()

    async def fetch() -> Mapping[str, VerifyingKey]:
        return public_keys([key.jwk])

    known, value = Authenticator(issuer=devtokens.ISSUER, keys=IssuerKeys(fetch)), f"Bearer {token()}"
    await known.principal(value)
    fastest = float("inf")
    for _ in range(BATCHES):
        began = time.perf_counter()
        for _ in range(BATCH):
            await known.principal(value)
        fastest = min(fastest, time.perf_counter() - began)
    return fastest / BATCH * 1e6


async def _valid(refused: Callable[[str], list[Request]]) -> list[Answered]:
    """Return the answers to valid requests while the gateway also refuses requests."""
    async with upstreams() as behind:
        issuer = f"{behind.url}/auth/v1"
        secret = secrets.token_urlsafe(48)
        async with gateway(behind, SUPABASE_URL=behind.url, AGENT_SECRET_MASTER_KEY=secret) as served:
            valid = [_request(devtokens.signing_key().sign(_claims(issuer)))]
            await apart(at_pace, served.port, valid, VALID_PER_SECOND, 1.0)
            return await apart(_both, served.port, valid, refused(issuer))


async def _both(port: int, valid: list[Request], refused: list[Request]) -> list[Answered]:
    storm = asyncio.create_task(at_pace(port, refused, REFUSED / SECONDS, SECONDS))
    answers = await at_pace(port, valid, VALID_PER_SECOND, SECONDS)
    await storm
    return answers


def _claims(issuer: str, lifetime_seconds: float = LIFETIME_SECONDS) -> dict[str, Any]:
    return claims_of(issuer=issuer, user_id=ADA, email=None, lifetime_seconds=lifetime_seconds)


def _expired(issuer: str) -> list[Request]:
    key, claims = devtokens.signing_key(), _claims(issuer, lifetime_seconds=-60)
    return [_request(key.sign({**claims, "nonce": number})) for number in range(REFUSED)]


def _unknown(issuer: str) -> list[Request]:
    key, claims = devtokens.signing_key(), _claims(issuer)
    kids = (f"unknown {number}" for number in range(REFUSED))
    return [_request(jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": kid})) for kid in kids]


def _request(bearer: str) -> Request:
    return Request.post("/graphql", b'{"query": "{ viewer { id } }"}', bearer)
