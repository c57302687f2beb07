"""Keys that verify tokens, each bound to one algorithm (RFC 8725, 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NewType, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.types import Options

from app.signin.token import MAX_KEY_ID_CHARS, READ_ERRORS, Token

MAX_KEYS = 32
"""Maximum number of an issuer's keys. A project has one key, and a second key during a rotation."""

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
"""The shortest modulus of RS256 (RFC 7518, 3.3), and the longest one that is verified in about a millisecond."""

HS256 = "HS256"
_BY_KIND = {("EC", "P-256"): "ES256", ("RSA", None): "RS256", ("OKP", "Ed25519"): "EdDSA"}
"""The algorithm of a key, by its type and curve. A symmetric key (``oct``) has no place in a public document."""

PUBLIC_ALGORITHMS = frozenset(_BY_KIND.values())

_OPTIONS: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
}
"""PyJWT accepts claims of wrong types, such as a time as text. ``claims`` checks all claims instead."""

SignedClaims = NewType("SignedClaims", dict[str, Any])
"""The claims of a token whose signature a ``VerifyingKey`` has verified."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key and the one algorithm that it is used with. The header of a token never selects the algorithm.

    Attributes:
        material: the key as PyJWT takes it.
    """

    algorithm: str
    material: Any

    def claims(self, token: Token) -> SignedClaims | None:
        """Return the claims of a token, or ``None`` if this key has not signed it."""
        try:
            read = jwt.decode_complete(token, self.material, algorithms=[self.algorithm], options=_OPTIONS)
        except READ_ERRORS:
            return None
        return SignedClaims(read["payload"])


def secret_key(secret: str) -> VerifyingKey:
    """Return the key of a project's legacy secret."""
    return VerifyingKey(HS256, secret)


def public_keys(jwks: Iterable[object]) -> Mapping[str, VerifyingKey]:
    """Return the usable keys of a JWK Set by id. Ignore all other keys (RFC 7517, 5)."""
    found: dict[str, VerifyingKey] = {}
    for jwk in jwks:
        if len(found) < MAX_KEYS and isinstance(jwk, dict) and (key := _public_key(jwk)) is not None:
            found.setdefault(jwk["kid"], key)
    return found


def _public_key(jwk: dict[str, Any]) -> VerifyingKey | None:
    """Return the key of a JWK, or ``None`` if it has no id, another use or another algorithm."""
    key_id = jwk.get("kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARS or not _is_for_signatures(jwk):
        return None
    try:
        algorithm = _BY_KIND.get((jwk["kty"], jwk.get("crv")))
        if algorithm is None or jwk.get("alg", algorithm) != algorithm:
            return None
        material = cast("Any", jwt.PyJWK({name: jwk[name] for name in jwk if name != "d"}, algorithm).key)
    except (*READ_ERRORS, KeyError):
        return None
    if isinstance(material, RSAPublicKey) and not MIN_RSA_BITS <= material.key_size <= MAX_RSA_BITS:
        return None
    return VerifyingKey(algorithm, material)


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    """Return whether a key may verify signatures (RFC 7517, 4.2 and 4.3)."""
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
