"""Checks of the keys that verify tokens, and of the tokens' issuer."""

from __future__ import annotations

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, listed, ok, problem, shown, warning
from app.doctor.identity import body_of
from app.doctor.installation import Installation
from app.signin.keys import public_keys
from clients.errors import Service
from clients.supabase import JWKS_PATH

_DISCOVERY_PATH = "/auth/v1/.well-known/openid-configuration"
"""The path at which Supabase names its issuer (OpenID Connect Discovery 1.0, 4)."""


async def _jwks(installation: Installation) -> Finding:
    body = body_of(await installation.service(Service.SUPABASE).answer(JWKS_PATH))
    jwks = body["keys"] if isinstance(body, dict) else []
    usable = public_keys(jwks)
    has_secret = installation.settings.supabase_jwt_secret is not None
    if usable:
        return ok(f"The project has {len(usable)} keys: {listed(key.algorithm for key in usable.values())}.")
    kinds = listed(f"{one.get('kty')} {one.get('alg', '')}".strip() for one in jwks if isinstance(one, dict))
    found = f"The project's JWKS has only keys that the gateway cannot use: {kinds}." if jwks else ""
    found = found or "The project's JWKS is empty."
    if has_secret:
        return ok(f"{found} SUPABASE_JWT_SECRET verifies tokens.")
    return problem(
        f"{found} The gateway therefore refuses every token.",
        "Create an asymmetric signing key (ES256 or RS256) in Supabase, or set SUPABASE_JWT_SECRET to the project's "
        "legacy JWT secret.",
    )


async def _issuer(installation: Installation) -> Finding:
    answer = await installation.service(Service.SUPABASE).answer(_DISCOVERY_PATH)
    body, expected = body_of(answer), installation.settings.issuer
    named = body.get("issuer") if isinstance(body, dict) else None
    if answer.status != 200 or not isinstance(named, str):
        raise NotChecked(f"The project does not publish its issuer. The gateway expects {expected}.")
    if named != expected:
        return problem(
            f"The project's tokens have the issuer {shown(named)}, and the gateway expects {expected}, so it refuses "
            "every token.",
            f"Set SUPABASE_JWT_ISSUER={shown(named)}.",
        )
    return ok(f"The issuer of the project's tokens is {expected}.")


async def _secret(installation: Installation) -> Finding:
    project = installation.service(Service.SUPABASE)
    if installation.settings.supabase_jwt_secret is None:
        return ok("The gateway accepts only tokens with a key of the JWKS, because SUPABASE_JWT_SECRET is not set.")
    body = body_of(await project.answer(JWKS_PATH))
    if isinstance(body, dict) and public_keys(body["keys"]):
        return warning(
            "SUPABASE_JWT_SECRET is set although the project has asymmetric keys: everybody who has the secret can "
            "sign tokens of any user.",
            "When no token with the legacy secret is valid any more, revoke it in Supabase, and unset "
            "SUPABASE_JWT_SECRET.",
        )
    return ok("The legacy secret verifies tokens.")


CHECKS = (
    Check(
        name="supabase.jwks",
        looks_at="a JWKS without a key that the gateway can use: empty, or only symmetric keys",
        run=_jwks,
        needs=("supabase.server",),
    ),
    Check(
        name="supabase.issuer",
        looks_at="another issuer in the project's discovery document than the gateway expects",
        run=_issuer,
        needs=("supabase.server",),
    ),
    Check(
        name="supabase.secret",
        looks_at="a `SUPABASE_JWT_SECRET` that the project does not need any more",
        run=_secret,
        needs=("supabase.server",),
    ),
)
"""The checks of sign-in, after those of Supabase's address and server."""
