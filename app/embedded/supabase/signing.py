"""Keys that sign access tokens with ES256, the algorithm of new Supabase projects.

The module does not use PyJWT, which imports X.509 and needs as long as the rest of ``agentgraph token``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

ALGORITHM = "ES256"
_COORDINATE_BYTES = 32
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
        return _base64url(hashlib.sha256(_json(self._public)).digest())

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as a JWK, in the form that Supabase publishes."""
        facts: dict[str, Any] = {"kid": self.key_id, "alg": ALGORITHM, "use": "sig", "key_ops": ["verify"], "ext": True}
        return {**self._public, **facts}

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a signed token with the given claims."""
        header = {"alg": ALGORITHM, "kid": self.key_id, "typ": "JWT"}
        signed = f"{_base64url(_json(header))}.{_base64url(_json(claims))}"
        return f"{signed}.{_base64url(self._signature(signed.encode()))}"

    @property
    def _public(self) -> dict[str, Any]:
        """The required members of the public key's JWK, in the order of a thumbprint (RFC 7638, 3.2)."""
        numbers = self.private.public_key().public_numbers()
        x, y = (_base64url(one.to_bytes(_COORDINATE_BYTES)) for one in (numbers.x, numbers.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    def _signature(self, signed: bytes) -> bytes:
        """Return the two numbers of an ES256 signature (RFC 7518, 3.4)."""
        numbers = decode_dss_signature(self.private.sign(signed, ECDSA(SHA256())))
        return b"".join(one.to_bytes(_COORDINATE_BYTES) for one in numbers)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


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
