from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.embedded.people import ADA
from app.signin.authenticator import LEEWAY_SECONDS, Authenticator
from app.signin.claims import MAX_EMAIL, SKEW_SECONDS
from app.signin.issuer import IssuerKeys
from app.signin.keys import VerifyingKey, public_keys
from clients.errors import Forbidden, Unauthenticated
from resolvers.principal import Principal
from tests.support.scripted_streams import refuses
from tests.support.supabase import SECRET, key_pair, with_secret
from tests.support.supabase import signed as signed_by

ISSUER = "https://project.supabase.co/auth/v1"


def signed(claims: object, header: object = None) -> str:
    """Return a token with a valid signature."""
    return signed_by({"alg": "HS256", "typ": "JWT"} if header is None else header, claims, with_secret(SECRET))


def good(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"sub": ADA, "role": "authenticated", "aud": "authenticated", "iss": ISSUER, "iat": now, "exp": now + 600}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def principal(token: str, secret: str = SECRET) -> Principal:
    return asyncio.run(Authenticator(secret=secret, issuer=ISSUER).principal(f"Bearer {token}"))


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"exp": "1"}, "exp"), ({"iat": "1"}, "iat"), ({"nbf": []}, "nbf"), ({"sub": ""}, "sub"), ({"aud": 1}, "aud"),
     ({"iss": "x"}, "iss"), ({"role": "anon"}, "role")],
)  # fmt: skip
def test_a_refusal_names_the_claim(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(Unauthenticated, match=f"its claim {name} "):
        principal(signed(good(**changes)))


def test_a_token_without_a_good_signature_learns_nothing_of_its_claims() -> None:
    token = signed(good(exp="1"))
    with pytest.raises(Unauthenticated) as refused:
        principal(f"{token[:-4]}AAAA")
    assert refused.value.message == "The token is not valid. Sign in again."


@pytest.mark.parametrize(
    ("literal", "shown"),
    [('"ada@example.com"', "ada@example.com"), (f'"{"a" * MAX_EMAIL}"', "a" * MAX_EMAIL),
     (f'"{"a" * (MAX_EMAIL + 1)}"', None), ('"\\ud800"', None), ('"a\\u0000"', None), ('"a\\nb"', None), ('""', None),
     ("1", None), ("[]", None), ("1e400", None), ("null", None)],
)  # fmt: skip
def test_an_email_is_a_text_that_can_be_shown(literal: str, shown: str | None) -> None:
    text = json.dumps(good(email="?")).encode()
    assert principal(signed(text.replace(b'"?"', literal.encode()))).email == shown


@pytest.mark.parametrize("token", ["\ud800", f"{signed(good())}\udfff"])
def test_a_token_with_half_a_surrogate_pair_is_not_valid(token: str) -> None:
    with refuses(Unauthenticated, "TOKEN_INVALID"):
        principal(token)


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("HS256")
NESTED = ODD | st.lists(ODD, max_size=3) | st.dictionaries(st.text(max_size=3), ODD, max_size=3)


@given(st.sampled_from(["alg", "kid", "crit", "b64", "zip", "typ", "x5c"]), NESTED)
def test_no_header_is_an_error_of_ours(name: str, value: Any) -> None:
    with suppress(Unauthenticated):
        principal(signed(good(), {"alg": "HS256", name: value}))


@given(st.sampled_from([*good(), "nbf", "email", "app_metadata", "jti", "is_anonymous"]), NESTED)
def test_no_claim_is_an_error_of_ours(name: str, value: Any) -> None:
    with suppress(Unauthenticated, Forbidden):
        principal(signed({**good(), name: value}))


@given(st.text(max_size=60))
def test_no_text_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(Unauthenticated):
        principal(text)


@pytest.mark.parametrize(
    "secret", ["-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----", "ssh-rsa AAAAB3NzaC1yc2E= ada"]
)
def test_a_secret_that_cannot_verify_refuses_every_token(secret: str) -> None:
    with pytest.raises(Unauthenticated):
        principal(signed(good()), secret)


def test_an_expired_token_is_not_taken_for_longer_on_that_account() -> None:
    token = signed(good(exp=int(time.time()) - LEEWAY_SECONDS - 1))
    known = Authenticator(secret=SECRET, issuer=ISSUER)
    for _ in range(2):
        with pytest.raises(Unauthenticated) as refused:
            asyncio.run(known.principal(f"Bearer {token}"))
        assert refused.value.reason == "TOKEN_EXPIRED"


@pytest.mark.parametrize(("age", "accepted"), [(-1, True), (0, False), (1, False)])
def test_a_token_is_accepted_until_the_end_of_the_leeway(
    monkeypatch: pytest.MonkeyPatch, age: int, accepted: bool
) -> None:
    token, known = signed(good(exp=1_900_000_000, iat=None)), Authenticator(secret=SECRET, issuer=ISSUER)
    monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0 + LEEWAY_SECONDS + age)
    with nullcontext() if accepted else pytest.raises(Unauthenticated, match="has expired"):
        asyncio.run(known.principal(f"Bearer {token}"))


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize(("ahead", "accepted"), [(-1, True), (0, True), (1, False)])
def test_the_issuers_clock_may_be_ahead_by_the_skew(
    monkeypatch: pytest.MonkeyPatch, claim: str, ahead: int, accepted: bool
) -> None:
    claims = good(exp=1_900_001_000, iat=None) | {claim: 1_900_000_000}
    monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0 - SKEW_SECONDS - ahead)
    with nullcontext() if accepted else pytest.raises(Unauthenticated, match=f"its claim {claim} "):
        principal(signed(claims))


def test_tokens_of_a_removed_key_are_refused() -> None:
    key = key_pair("ES256")
    published = [{key.jwk["kid"]: key}]

    async def fetch() -> Mapping[str, VerifyingKey]:
        return public_keys([one.jwk for one in published[0].values()])

    async def signed_in_and_refused() -> None:
        keys = IssuerKeys(fetch)
        known = Authenticator(issuer=ISSUER, keys=keys)
        token = f"Bearer {key.token(good())}"
        verified = await known.principal(token)
        published[0] = {}
        await keys.refresh()
        assert await known.principal(token) == verified
        known.check(verified)
        await keys.refresh()
        with pytest.raises(Unauthenticated):
            await known.principal(token)
        with refuses(Unauthenticated, "TOKEN_INVALID"):
            known.check(verified)

    asyncio.run(signed_in_and_refused())
