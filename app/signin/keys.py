"""Keys that verify tokens. Each key is used with one algorithm only (RFC 8725, 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NewType, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.types import Options

from app.signin.token import MAX_KEY_ID_CHARS, READ_ERRORS, Token

MAX_KEYS = 32
"""Maximum number of an issuer's keys. A project has one key, or two keys during a rotation."""

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
"""The minimum (RFC 7518, 3.3) and maximum size of RSA keys for RS256, in bits.

A signature by the largest key is verified in about a millisecond.
"""

HS256 = "HS256"
_BY_KIND = {("EC", "P-256"): "ES256", ("RSA", None): "RS256", ("OKP", "Ed25519"): "EdDSA"}
"""Maps a key's type and curve to the key's algorithm.

Symmetric keys (``oct``) are refused, because a JWK Set is public.
"""

PUBLIC_ALGORITHMS = frozenset(_BY_KIND.values())

_OPTIONS: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
}
"""Options that turn off PyJWT's checks of claims. ``app.signin.claims`` checks all claims instead.

PyJWT accepts claims of wrong types, such as a time as text.
"""

SignedClaims = NewType("SignedClaims", dict[str, Any])
"""The claims of a token whose signature has been verified."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key that verifies tokens with one algorithm. A token's header cannot change this algorithm.

    Attributes:
        material: the key in PyJWT's format.
    """

    algorithm: str
    material: Any

    def claims(self, token: Token) -> SignedClaims | None:
        """Return a token's claims, or ``None`` if the token is not signed with this key."""
        try:
            read = jwt.decode_complete(token, self.material, algorithms=[self.algorithm], options=_OPTIONS)
        except READ_ERRORS:
            return None
        return SignedClaims(read["payload"])


def secret_key(secret: str) -> VerifyingKey:
    """Return the ``VerifyingKey`` for a project's legacy secret."""
    return VerifyingKey(HS256, secret)


def public_keys(jwks: Iterable[object]) -> Mapping[str, VerifyingKey]:
    """Return a JWK Set's usable keys by id. Ignore all other keys (RFC 7517, 5)."""
    found: dict[str, VerifyingKey] = {}
    for jwk in jwks:
        if len(found) < MAX_KEYS and isinstance(jwk, dict) and (key := _public_key(jwk)) is not None:
            found.setdefault(jwk["kid"], key)
    return found


def _public_key(jwk: dict[str, Any]) -> VerifyingKey | None:
    """Convert a JWK to a ``VerifyingKey``. Return ``None`` if the gateway cannot use the JWK.

    A usable JWK has an id, verifies signatures, and has a supported algorithm and size.
    """
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
    """Return whether a JWK may be used to verify signatures (RFC 7517, 4.2 and 4.3)."""
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
