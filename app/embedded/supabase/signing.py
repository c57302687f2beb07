"""Keys that sign access tokens with ES256, the algorithm of new Supabase projects."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm

from app.embedded.state import Json

ALGORITHM = "ES256"
LIFETIME_SECONDS = 3600
"""An access token's lifetime in seconds. Supabase has the same default."""


@dataclass(frozen=True)
class SigningKey:
    """A private key with which the issuer signs access tokens."""

    private: EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key."""
        return cls(generate_private_key(SECP256R1()))

    @classmethod
    def from_pem(cls, pem: str) -> SigningKey:
        """Read a private key from PEM text. Raises ValueError."""
        return cls(cast("EllipticCurvePrivateKey", load_pem_private_key(pem.encode(), None)))

    @property
    def pem(self) -> str:
        """The private key in PEM format."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @cached_property
    def key_id(self) -> str:
        """The thumbprint of the public key (RFC 7638)."""
        public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        members = {name: public[name] for name in ("crv", "kty", "x", "y")}
        digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @property
    def jwk(self) -> Json:
        """The public key as a JWK, in the form that Supabase publishes."""
        public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        facts = {"kid": self.key_id, "alg": ALGORITHM, "use": "sig", "key_ops": ["verify"], "ext": True}
        return {**public, **facts}

    def sign(self, claims: Json) -> str:
        """Return a signed token with the given claims."""
        return jwt.encode(claims, self.private, algorithm=ALGORITHM, headers={"kid": self.key_id})


def claims_of(
    *,
    issuer: str,
    user_id: str,
    email: str | None,
    lifetime_seconds: float = LIFETIME_SECONDS,
    admin: bool = False,
    anonymous: bool = False,
    session_id: str | None = None,
) -> dict[str, Any]:
    """Return the claims of an access token (Supabase contract)."""
    now = time.time()
    return {
        "sub": user_id,
        "email": email or "",
        "phone": "",
        "role": "authenticated",
        "aud": "authenticated",
        "iss": issuer,
        "iat": int(now),
        "exp": now + lifetime_seconds,
        "session_id": session_id or str(uuid.uuid4()),
        "aal": "aal1",
        "is_anonymous": anonymous,
        "app_metadata": {"role": "admin"} if admin else {},
        "user_metadata": {},
    }
