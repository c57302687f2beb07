from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth import LEEWAY_SECONDS, Authenticator
from app.claims import MAX_EMAIL, SKEW_SECONDS
from app.embedded.people import ADA
from clients.errors import Forbidden, Unauthenticated

SECRET, ISSUER = "s" * 40, "https://project.supabase.co/auth/v1"


def encoded(value: object) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed(claims: object, header: object = None) -> str:
    """A token with a good signature, whatever it says."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    text = encoded(head) + b"." + encoded(claims)
    return (text + b"." + encoded(hmac.new(SECRET.encode(), text, hashlib.sha256).digest())).decode()


def good(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"sub": ADA, "role": "authenticated", "aud": "authenticated", "iss": ISSUER, "iat": now, "exp": now + 600}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def raw(**literals: str) -> bytes:
    """Claims of which some are written as JSON's literals, or as what JSON does not have."""
    text = json.dumps(good() | dict.fromkeys(literals, "?"))
    for name, literal in literals.items():
        text = text.replace(f'"{name}": "?"', f'"{name}": {literal}')
    return text.encode()


def authenticator() -> Authenticator:
    return Authenticator(secret=SECRET, issuer=ISSUER)


def reason(token: str) -> str | None:
    """Why a token is refused; anything but a refusal of ours fails the test."""
    with pytest.raises(Unauthenticated) as refused:
        authenticator().principal(f"Bearer {token}")
    return refused.value.reason


DEEP = json.loads("[" * 300 + "]" * 300)
HEADERS = {
    "alg is a list": {"alg": ["HS256"]},
    "alg is an object": {"alg": {"a": "HS256"}},
    "alg is null": {"alg": None},
    "no alg": {"typ": "JWT"},
    "alg none": {"alg": "none"},
    "alg in lower case": {"alg": "hs256"},
    "RS256": {"alg": "RS256"},
    "kid is a number": {"alg": "HS256", "kid": 1},
    "kid is a list": {"alg": "HS256", "kid": [[]]},
    "unknown crit": {"alg": "HS256", "crit": ["exp"]},
    "crit is a string": {"alg": "HS256", "crit": "b64"},
    "crit is empty": {"alg": "HS256", "crit": []},
    "crit of objects": {"alg": "HS256", "crit": [{}]},
    "b64 false": {"alg": "HS256", "b64": False, "crit": ["b64"]},
    "b64 false without crit": {"alg": "HS256", "b64": False},
    "typ of an access token": {"alg": "HS256", "typ": "at+jwt"},
    "typ is a number": {"alg": "HS256", "typ": 1},
    "typ is null": {"alg": "HS256", "typ": None},
    "header is a list": ["HS256"],
    "header is a string": "HS256",
    "header is null": b"null",
    "header is deep": {"alg": "HS256", "x": DEEP, "crit": DEEP},
    "header is very deep": b"[" * 3000,
    "header is no UTF-8": b'{"alg": "\xff"}',
    "header is empty": b"",
}
CLAIMS: dict[str, object] = {
    "exp is NaN": raw(exp="NaN"),
    "exp is -Infinity": raw(exp="-Infinity"),
    "exp is Infinity": raw(exp="Infinity"),
    "exp is text": good(exp="tomorrow"),
    "exp is a list": good(exp=[1]),
    "exp is true": good(exp=True),
    "exp is negative": good(exp=-1),
    "exp of 5000 digits": raw(exp="9" * 5000),
    "exp of 400 digits": raw(exp="9" * 400),
    "exp is 1e400": raw(exp="1e400"),
    "exp is -1e400": raw(exp="-1e400"),
    "exp is a number as text": good(exp=str(int(time.time()) + 600)),
    "exp is a number with underscores": good(exp="1_999_999_999"),
    "exp is null": raw(exp="null"),
    "iat is 1e400": raw(iat="1e400"),
    "iat is -1": good(iat=-1),
    "iat is true": good(iat=True),
    "iat is a number as text": good(iat=str(int(time.time()))),
    "nbf is -1e400": raw(nbf="-1e400"),
    "nbf is false": good(nbf=False),
    "iat is NaN": raw(iat="NaN"),
    "iat is Infinity": raw(iat="Infinity"),
    "iat is text": good(iat="now"),
    "nbf is a list": good(nbf=[]),
    "nbf is Infinity": raw(nbf="Infinity"),
    "sub is a number": good(sub=1),
    "sub is a list": good(sub=[ADA]),
    "sub is empty": good(sub=""),
    "sub is long": good(sub="a" * 5000),
    "sub is spaces": good(sub=" " * 36),
    "sub in capitals": good(sub=ADA.upper()),
    "sub in braces": good(sub=f"{{{ADA}}}"),
    "sub as a URN": good(sub=f"urn:uuid:{ADA}"),
    "sub without hyphens": good(sub=ADA.replace("-", "")),
    "sub with a space after it": good(sub=f"{ADA} "),
    "sub with a line end": good(sub=f"{ADA}\n"),
    "sub with a NUL": good(sub=f"{ADA}\0"),
    "sub of full-width digits": good(sub=ADA.replace("1", "\uff11")),
    "sub is null": raw(sub="null"),
    "sub is an object": good(sub={"id": ADA}),
    "sub is half a pair": raw(sub='"\\ud800"'),
    "sub has no ASCII": good(sub="ä" * 36),
    "aud is a number": good(aud=1),
    "aud is an object": good(aud={"authenticated": 1}),
    "aud of lists": good(aud=[["authenticated"]]),
    "aud of other types": good(aud=["authenticated", 1]),
    "aud is another": good(aud="anon"),
    "iss is a list": good(iss=[ISSUER]),
    "iss is an object": good(iss={}),
    "jti is a number": good(jti=1),
    "role is a list": good(role=["authenticated"]),
    "role is null": raw(role="null"),
    "claims are a list": [1],
    "claims are a number": 1,
    "claims are null": b"null",
    "claims are empty": b"",
    "claims are no UTF-8": b'{"sub": "\xff"}',
    "claims are very deep": b"[" * 3000,
    "claims are compressed": base64.b64decode("q1ZKLC1RslJQSs0rUaoFAA=="),
}


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"exp": "1"}, "exp"), ({"iat": "1"}, "iat"), ({"nbf": []}, "nbf"), ({"sub": ""}, "sub"), ({"aud": 1}, "aud"),
     ({"iss": "x"}, "iss"), ({"role": "anon"}, "role")],
)  # fmt: skip
def test_a_refusal_names_the_claim(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(Unauthenticated, match=f"its claim {name} "):
        authenticator().principal(f"Bearer {signed(good(**changes))}")


def test_a_token_without_a_good_signature_learns_nothing_of_its_claims() -> None:
    token = signed(good(exp="1"))
    with pytest.raises(Unauthenticated) as refused:
        authenticator().principal(f"Bearer {token[:-4]}AAAA")
    assert refused.value.message == "The token is not valid. Sign in again."


@pytest.mark.parametrize(
    ("literal", "shown"),
    [('"ada@example.com"', "ada@example.com"), (f'"{"a" * MAX_EMAIL}"', "a" * MAX_EMAIL),
     (f'"{"a" * (MAX_EMAIL + 1)}"', None), ('"\\ud800"', None), ('"a\\u0000"', None), ('"a\\nb"', None), ('""', None),
     ("1", None), ("[]", None), ("1e400", None), ("null", None)],
)  # fmt: skip
def test_an_email_is_a_text_that_can_be_shown(literal: str, shown: str | None) -> None:
    assert authenticator().principal(f"Bearer {signed(raw(email=literal))}").email == shown


@pytest.mark.parametrize("kind", HEADERS)
def test_an_odd_header_is_an_invalid_token(kind: str) -> None:
    assert reason(signed(good(), HEADERS[kind])) == "TOKEN_INVALID"


@pytest.mark.parametrize("kind", CLAIMS)
def test_odd_claims_are_an_invalid_or_expired_token(kind: str) -> None:
    assert reason(signed(CLAIMS[kind])) in {"TOKEN_INVALID", "TOKEN_EXPIRED"}


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("HS256")
NESTED = ODD | st.lists(ODD, max_size=3) | st.dictionaries(st.text(max_size=3), ODD, max_size=3)


@given(st.sampled_from(["alg", "kid", "crit", "b64", "zip", "typ", "x5c"]), NESTED)
def test_no_header_is_an_error_of_ours(name: str, value: Any) -> None:
    with suppress(Unauthenticated):
        authenticator().principal(f"Bearer {signed(good(), {'alg': 'HS256', name: value})}")


@given(st.sampled_from([*good(), "nbf", "email", "app_metadata", "jti", "is_anonymous"]), NESTED)
def test_no_claim_is_an_error_of_ours(name: str, value: Any) -> None:
    with suppress(Unauthenticated, Forbidden):
        authenticator().principal(f"Bearer {signed({**good(), name: value})}")


@given(st.text(max_size=60))
def test_no_text_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(Unauthenticated):
        authenticator().principal(f"Bearer {text}")


@pytest.mark.parametrize(
    "secret", ["-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----", "ssh-rsa AAAAB3NzaC1yc2E= ada"]
)
def test_a_secret_that_cannot_verify_refuses_every_token(secret: str) -> None:
    with pytest.raises(Unauthenticated):
        Authenticator(secret=secret, issuer=ISSUER).principal(f"Bearer {signed(good())}")


@pytest.mark.parametrize("exp", [10**12, 10**30, 1e300])
def test_a_token_that_expires_after_the_calendar_is_taken_to_its_end(exp: float) -> None:
    principal = authenticator().principal(f"Bearer {signed(good(exp=exp))}")
    assert principal.expires_at <= 253_402_300_799


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_signers_clock_may_be_ahead_but_not_by_hours(claim: str) -> None:
    now = int(time.time())
    assert authenticator().principal(f"Bearer {signed(good(**{claim: now + 20}))}").user_id == ADA
    assert authenticator().principal(f"Bearer {signed(good(**{claim: now + SKEW_SECONDS - 5}))}").user_id == ADA
    assert reason(signed(good(**{claim: now + 3600}))) == "TOKEN_INVALID"


def test_an_expired_token_is_not_taken_for_longer_on_that_account() -> None:
    token = signed(good(exp=int(time.time()) - LEEWAY_SECONDS - 1))
    known = authenticator()
    for _ in range(2):
        with pytest.raises(Unauthenticated) as refused:
            known.principal(f"Bearer {token}")
        assert refused.value.reason == "TOKEN_EXPIRED"


@pytest.mark.parametrize("value", [True, "true", 1, [False]])
def test_an_anonymous_user_is_refused_with_a_reason_of_their_own(value: object) -> None:
    with pytest.raises(Forbidden) as refused:
        authenticator().principal(f"Bearer {signed(good(is_anonymous=value))}")
    assert refused.value.reason == "ANONYMOUS"


@pytest.mark.parametrize(
    "claims", [{}, {"is_anonymous": False}, {"aud": ["authenticated"]}, {"aud": ["x", "authenticated"]}]
)
def test_what_supabase_signs_is_taken(claims: dict[str, Any]) -> None:
    header = {"alg": "HS256", "typ": "JWT", "kid": "k"}
    assert authenticator().principal(f"Bearer {signed(good(**claims), header)}").user_id == ADA
