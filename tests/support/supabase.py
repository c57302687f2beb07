"""Supabase projects on loopback: the embedded one, and one that publishes any JWK Set and signs any token."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.embedded.people import ADA
from app.embedded.server import LoopbackServer
from app.embedded.supabase.service import EmbeddedSupabase
from app.embedded.supabase.signing import SigningKey, claims_of

PASSWORD = "correct horse battery staple"
SECRET = "s" * 40
"""The legacy secret of projects under test."""

Sign = Callable[[bytes], bytes]


@asynccontextmanager
async def supabase_project() -> AsyncIterator[EmbeddedSupabase]:
    """Serve a project whose JWKS has one key."""
    project = EmbeddedSupabase(password=PASSWORD, key=SigningKey.generate())
    await project.start()
    try:
        yield project
    finally:
        await project.stop()


def token_of(project: EmbeddedSupabase, key: SigningKey | None = None, **options: Any) -> str:
    """Return a token of a project, signed with its first key or another one."""
    claims = claims_of(**{"issuer": project.sessions.issuer, "user_id": ADA, "email": "ada@example.com", **options})
    return (key or project.sessions.keys[0]).sign(claims)


def encoded(value: object) -> bytes:
    """Encode a part of a token. Bytes are not encoded as JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed(header: object, claims: object, sign: Sign) -> str:
    """Return a token with any header, any claims and any signature."""
    text = encoded(header) + b"." + encoded(claims)
    return (text + b"." + encoded(sign(text))).decode()


def with_secret(secret: str | bytes = SECRET) -> Sign:
    """Sign as HS256 does."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    return lambda text: hmac.new(raw, text, hashlib.sha256).digest()


@dataclass(frozen=True)
class Key:
    """A key pair of a project: its public JWK, and its signatures."""

    algorithm: str
    private: Any
    jwk: dict[str, Any]

    def sign(self, text: bytes) -> bytes:
        """Sign as the key's algorithm does (RFC 7518, 3; RFC 8037, 3.1)."""
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self.private.sign(text, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if self.algorithm == "RS256":
            return bytes(self.private.sign(text, padding.PKCS1v15(), hashes.SHA256()))
        return bytes(self.private.sign(text))

    def header(self, **changes: object) -> dict[str, Any]:
        """Return the header of a token."""
        return {"alg": self.algorithm, "typ": "JWT", "kid": self.jwk["kid"], **changes}

    def token(self, claims: object, **header: object) -> str:
        """Return a token."""
        return signed(self.header(**header), claims, self.sign)


@cache
def key_pair(algorithm: str, name: str = "1", *, bits: int = 2048) -> Key:
    """Return a key pair, the same for the same arguments."""
    private: Any
    if algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
        public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    elif algorithm == "RS256":
        private = rsa.generate_private_key(65537, bits)
        public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        private = ed25519.Ed25519PrivateKey.generate()
        public = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    facts = {"kid": f"{algorithm}-{name}", "alg": algorithm, "use": "sig", "key_ops": ["verify"]}
    return Key(algorithm, private, {**public, **facts})


@dataclass
class Issuer:
    """A project that publishes the JWKs of ``keys``, and counts the fetches.

    Attributes:
        answer: is sent instead of the JWK Set.
        may_answer: fetches wait for it.
    """

    keys: list[Any] = field(default_factory=list)
    answer: Response | None = None
    fetches: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @property
    def issuer(self) -> str:
        """The ``iss`` of its tokens."""
        return f"{self.url}/auth/v1"

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return claims that are accepted. A change to ``None`` removes a claim."""
        now = int(time.time())
        claims = {"sub": ADA, "role": "authenticated", "aud": "authenticated", "iss": self.issuer, "iat": now}
        claims |= {"exp": now + 600, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    async def jwks(self, _: Request) -> Response:
        """Answer a fetch."""
        self.fetches += 1
        await self.may_answer.wait()
        return self.answer or JSONResponse({"keys": self.keys})


@asynccontextmanager
async def issuing(*keys: Any) -> AsyncIterator[Issuer]:
    """Serve a project that publishes JWKs."""
    issuer = Issuer([*keys])
    issuer.may_answer.set()
    server = LoopbackServer(Starlette(routes=[Route("/auth/v1/.well-known/jwks.json", issuer.jwks)]))
    await server.start()
    issuer.url = server.url
    try:
        yield issuer
    finally:
        await server.stop()
