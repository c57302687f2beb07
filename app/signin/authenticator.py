"""Verifies tokens: their key, algorithm, signature and claims."""

from __future__ import annotations

import time
from collections.abc import Collection
from hashlib import sha256

from app.signin.attempts import SignInAttempts
from app.signin.claims import principal_of
from app.signin.errors import invalid, token_expired, token_revoked
from app.signin.issuer import IssuerKeys
from app.signin.keys import HS256, PUBLIC_ALGORITHMS, VerifyingKey, secret_key
from app.signin.token import Token, bearer, claimed_session, header_of
from clients.bounded import Lru
from clients.errors import Unauthenticated
from resolvers.principal import Principal
from resolvers.sessions import Sessions

LEEWAY_SECONDS = 5
"""How long a token is accepted after its expiry, in seconds."""

_CACHE_SIZE = 10_000

_SHA256 = sha256()
"""The empty hash. Copying it is faster than a new hash, for which OpenSSL searches the algorithm."""


class Authenticator:
    """Verifies one issuer's tokens. Verified tokens are cached by their digests.

    If an address has had too many failed sign-ins, only cached tokens and new tokens of known sessions are accepted. So
    a neighbour behind the same NAT cannot sign a user out, even if the user's token is refreshed.

    Args:
        issuer: the ``iss`` that tokens must have.
        secret: the project's legacy secret, which verifies tokens with the algorithm HS256. Their ``kid`` is ignored.
        keys: the issuer's public keys, which verify ES256, RS256 and EdDSA.
        sessions: contain the revoked sessions.
        attempts: counts failed sign-ins. By default, their number has no limit.
    """

    def __init__(
        self,
        *,
        issuer: str,
        secret: str | None = None,
        keys: IssuerKeys | None = None,
        sessions: Sessions | None = None,
        attempts: SignInAttempts | None = None,
    ) -> None:
        self._issuer = issuer
        self._sessions = sessions or Sessions()
        self._attempts = attempts or SignInAttempts()
        self._known_sessions: Lru[str, bool] = Lru(_CACHE_SIZE)
        self._secret = None if secret is None else secret_key(secret)
        self._keys = keys
        self._verified: Lru[bytes, Principal] = Lru(_CACHE_SIZE)
        self._sessions.on_revoked(self._evict_all)
        if keys is not None:
            keys.on_removed(self._evict_all)

    async def principal(self, authorization: str | None, address: str = "") -> Principal:
        """Verify the token in an ``Authorization`` header, and return the token's user.

        Args:
            authorization: the header's value.
            address: the client's address, whose failed sign-ins are counted.

        Raises:
            Unauthenticated: reason ``TOKEN_MISSING``, ``TOKEN_EXPIRED``, ``TOKEN_REVOKED`` or ``TOKEN_INVALID``.
            Forbidden: reason ``ANONYMOUS``, for a user who has not signed up.
            RateLimited: the address has had too many failed sign-ins (``RATE_LIMIT_SIGN_IN``).
            UpstreamUnavailable, Overloaded: the issuer's keys are needed and cannot be fetched (``ISSUER``).
        """
        try:
            principal = self._verified.get(key := _digest(authorization or ""))
            if principal is None:
                principal = await self._unknown(bearer(authorization), address)
                self._verified.put(key, principal)
            if _has_expired(principal):
                raise token_expired()
        except UnicodeEncodeError as error:  # JSON can contain half of a surrogate pair
            await self._attempts.failed(address, refusal := invalid())
            raise refusal from error
        except Unauthenticated as error:
            await self._attempts.failed(address, error)
            raise
        return principal

    def known(self, authorization: str) -> Principal | None:
        """Return the user of a token that has been verified and is valid, or ``None`` for any other token."""
        try:
            principal = self._verified.get(_digest(authorization))
        except UnicodeEncodeError:
            return None
        return principal if principal is not None and not _has_expired(principal) else None

    def check(self, principal: Principal) -> None:
        """Check whether a verified token is still valid.

        Raises:
            Unauthenticated: the session is revoked (``TOKEN_REVOKED``), or the issuer has removed the token's key
                (``TOKEN_INVALID``).
        """
        if self._sessions.is_revoked(principal.session_id):
            raise token_revoked()
        if self._keys is not None and principal.key_id and self._keys.known(principal.key_id) is None:
            raise invalid("the issuer has removed the token's key")

    def is_current(self, principal: Principal) -> bool:
        """Return whether a verified token is still valid: neither expired nor refused by ``check``."""
        try:
            self.check(principal)
        except Unauthenticated:
            return False
        return not _has_expired(principal)

    def refusal(self, principal: Principal) -> Unauthenticated:
        """Return the error for a user who was signed out while the gateway answered.

        ``check`` refuses the token, or the token has expired.
        """
        try:
            self.check(principal)
        except Unauthenticated as error:
            return error
        return token_expired()

    def _evict_all(self, _: Collection[str]) -> None:
        self._verified = Lru(_CACHE_SIZE)

    async def _unknown(self, token: Token, address: str) -> Principal:
        """Verify a token that is not cached. Refuse the token if its address has failed too often (RateLimited)."""
        claimed = claimed_session(token)
        if claimed not in self._known_sessions:
            await self._attempts.check(address)
        try:
            principal = await self._verify(token)
            self.check(principal)
        except Unauthenticated:
            self._known_sessions.remove(claimed)  # whoever knows the session's id forges its tokens
            raise
        if principal.session_id:
            self._known_sessions.put(claimed, True)
        return principal

    async def _verify(self, token: Token) -> Principal:
        algorithm, key_id = header_of(token)
        key = await self._key(algorithm, key_id)
        claims = None if key is None or key.algorithm != algorithm else key.claims(token)
        if claims is None:
            raise invalid()
        return principal_of(claims, self._issuer, "" if algorithm == HS256 else key_id)

    async def _key(self, algorithm: str, key_id: str) -> VerifyingKey | None:
        """Return the key that verifies a token, or ``None``. A public key is never used as an HMAC secret."""
        if algorithm == HS256:
            return self._secret
        if self._keys is None or algorithm not in PUBLIC_ALGORITHMS or not key_id:
            return None
        return self._keys.known(key_id) or await self._keys.fetched(key_id)


def _digest(authorization: str) -> bytes:
    """Return a token's digest. Raise UnicodeEncodeError for half of a surrogate pair."""
    digest = _SHA256.copy()
    digest.update(authorization.encode())
    return digest.digest()


def _has_expired(principal: Principal) -> bool:
    return principal.expires_at + LEEWAY_SECONDS <= time.time()
