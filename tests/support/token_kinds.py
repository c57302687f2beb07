"""Tokens of every kind, and what the gateway makes of each."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from app.embedded.people import ADA
from app.signin.authenticator import LEEWAY_SECONDS
from app.signin.claims import SKEW_SECONDS
from app.signin.token import MAX_KEY_ID_CHARS, MAX_TOKEN_CHARS
from tests.support.supabase import SECRET, Issuer, Key, encoded, key_pair, signed, with_secret

ES, RS, ED = key_pair("ES256"), key_pair("RS256"), key_pair("EdDSA")
SECOND = key_pair("ES256", "second")
FOREIGN = key_pair("ES256", "foreign")
SHORT = key_pair("RS256", "short", bits=1024)
OCTETS = {"kty": "oct", "kid": "octets", "alg": "HS256", "k": encoded(SECRET.encode()).decode()}
ENCRYPTING = key_pair("ES256", "encrypting")
SIGNING_ONLY = key_pair("ES256", "signing-only")
OTHER_ALGORITHM = key_pair("ES256", "other-algorithm")
LARGE_CURVE = ec.generate_private_key(ec.SECP384R1())
UNNAMED = {name: value for name, value in key_pair("ES256", "unnamed").jwk.items() if name != "kid"}

JWKS: list[Any] = [
    *(key.jwk for key in (ES, RS, ED, SECOND, SHORT)),
    OCTETS,
    ENCRYPTING.jwk | {"use": "enc"},
    SIGNING_ONLY.jwk | {"key_ops": ["sign"]},
    OTHER_ALGORITHM.jwk | {"alg": "ES384"},
    {**jwt.algorithms.ECAlgorithm.to_jwk(LARGE_CURVE.public_key(), as_dict=True), "kid": "P-384"},
    UNNAMED,
    {"kty": "EC", "kid": "no point", "crv": "P-256"},
    {"kty": ["EC"], "kid": "a list as kty"},
    {"kid": "no kty"},
    "not an object",
    None,
]
"""The JWK Set of the project: four usable keys, and entries that have to be ignored."""

OK, INVALID, EXPIRED, ANONYMOUS, MISSING = "", "TOKEN_INVALID", "TOKEN_EXPIRED", "ANONYMOUS", "TOKEN_MISSING"


class Kind(NamedTuple):
    """A kind of ``Authorization``: how to make it for an issuer, and the reason of its refusal."""

    make: Callable[[Issuer], str | None]
    reason: str


def bearer(token: Callable[[Issuer], str], reason: str) -> Kind:
    return Kind(lambda issuer: f"Bearer {token(issuer)}", reason)


def public_pem(key: Key) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.private.public_key().public_bytes(serialization.Encoding.PEM, form))


def public_der(key: Key) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.private.public_key().public_bytes(serialization.Encoding.DER, form))


def raw(issuer: Issuer, **literals: str) -> bytes:
    """Return claims of which some are written as literals, which may be no JSON."""
    text = json.dumps(issuer.claims() | dict.fromkeys(literals, "?"))
    for name, literal in literals.items():
        text = text.replace(f'"{name}": "?"', f'"{name}": {literal}')
    return text.encode()


DEEP = json.loads("[" * 300 + "]" * 300)
HEADERS: dict[str, dict[str, object]] = {
    "alg is a list": {"alg": ["ES256"]},
    "alg is an object": {"alg": {"a": "ES256"}},
    "alg is null": {"alg": None},
    "alg is empty": {"alg": ""},
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg in lower case": {"alg": "es256"},
    "alg with a space": {"alg": "ES256 "},
    "alg HS384": {"alg": "HS384"},
    "alg HS512": {"alg": "HS512"},
    "alg RS384": {"alg": "RS384"},
    "alg RS512": {"alg": "RS512"},
    "alg PS256": {"alg": "PS256"},
    "alg ES384": {"alg": "ES384"},
    "alg ES512": {"alg": "ES512"},
    "alg ES256K": {"alg": "ES256K"},
    "alg RS256 with the kid of an EC key": {"alg": "RS256"},
    "alg EdDSA with the kid of an EC key": {"alg": "EdDSA"},
    "kid is a number": {"kid": 1},
    "kid is a list": {"kid": [[]]},
    "kid is null": {"kid": None},
    "kid is an object": {"kid": {"kid": ES.jwk["kid"]}},
    "kid is empty": {"kid": ""},
    "kid is long": {"kid": "k" * (MAX_KEY_ID_CHARS + 1)},
    "kid is a path": {"kid": "../../../../dev/null"},
    "kid is SQL": {"kid": "' OR '1'='1"},
    "kid is a URL": {"kid": "https://evil.example/jwks.json"},
    "kid is a command": {"kid": "|whoami"},
    "kid has a line end": {"kid": f"{ES.jwk['kid']}\n"},
    "kid has a NUL": {"kid": f"{ES.jwk['kid']}\0"},
    "kid in lower case": {"kid": ES.jwk["kid"].lower()},
    "kid is __proto__": {"kid": "__proto__"},
    "kid of a second key": {"kid": SECOND.jwk["kid"]},
    "kid of an RSA key": {"kid": RS.jwk["kid"]},
    "kid of an Ed25519 key": {"kid": ED.jwk["kid"]},
    "kid of the oct key": {"kid": "octets"},
    "kid of an unusable key": {"kid": "no point"},
    "unknown crit": {"crit": ["exp"]},
    "crit is a string": {"crit": "b64"},
    "crit is empty": {"crit": []},
    "crit of objects": {"crit": [{}]},
    "b64 false": {"b64": False, "crit": ["b64"]},
    "b64 false without crit": {"b64": False},
    "typ of an OAuth access token": {"typ": "at+jwt"},
    "typ of a logout token": {"typ": "logout+jwt"},
    "typ is a number": {"typ": 1},
    "typ is null": {"typ": None},
    "header is deep": {"x": DEEP, "crit": DEEP},
}
"""Changes to the header of a token with a valid ES256 signature."""

WHOLE_HEADERS: dict[str, object] = {
    "no alg": {"typ": "JWT"},
    "header is a list": ["ES256"],
    "header is a string": "ES256",
    "header is null": b"null",
    "header is very deep": b"[" * 3000,
    "header is no UTF-8": b'{"alg": "\xff"}',
    "header is empty": b"",
}

LITERALS: dict[str, dict[str, str]] = {
    "exp is NaN": {"exp": "NaN"},
    "exp is -Infinity": {"exp": "-Infinity"},
    "exp is Infinity": {"exp": "Infinity"},
    "exp of 400 digits": {"exp": "9" * 400},
    "exp of 5000 digits": {"exp": "9" * 5000},
    "exp is 1e400": {"exp": "1e400"},
    "exp is -1e400": {"exp": "-1e400"},
    "exp is null": {"exp": "null"},
    "iat is 1e400": {"iat": "1e400"},
    "iat is NaN": {"iat": "NaN"},
    "iat is Infinity": {"iat": "Infinity"},
    "nbf is -1e400": {"nbf": "-1e400"},
    "nbf is Infinity": {"nbf": "Infinity"},
    "sub is null": {"sub": "null"},
    "sub is half a surrogate pair": {"sub": '"\\ud800"'},
    "role is null": {"role": "null"},
    "iss is null": {"iss": "null"},
    "aud is null": {"aud": "null"},
}

CLAIMS: dict[str, dict[str, Any]] = {
    **{f"no {name}": {name: None} for name in ("exp", "sub", "aud", "iss", "role")},
    "exp is text": {"exp": "tomorrow"},
    "exp is a list": {"exp": [1]},
    "exp is true": {"exp": True},
    "exp is negative": {"exp": -1},
    "exp is a number as text": {"exp": "1999999999"},
    "exp is a number with underscores": {"exp": "1_999_999_999"},
    "exp is an object": {"exp": {}},
    "iat is -1": {"iat": -1},
    "iat is true": {"iat": True},
    "iat is a number as text": {"iat": "1"},
    "iat is text": {"iat": "now"},
    "iat is a list": {"iat": []},
    "nbf is a list": {"nbf": []},
    "nbf is false": {"nbf": False},
    "nbf is text": {"nbf": "now"},
    "sub is a number": {"sub": 1},
    "sub is a list": {"sub": [ADA]},
    "sub is an object": {"sub": {"id": ADA}},
    "sub is empty": {"sub": ""},
    "sub is no UUID": {"sub": "admin"},
    "sub is long": {"sub": "a" * 5000},
    "sub is spaces": {"sub": " " * 36},
    "sub in capitals": {"sub": ADA.upper()},
    "sub in braces": {"sub": f"{{{ADA}}}"},
    "sub as a URN": {"sub": f"urn:uuid:{ADA}"},
    "sub without hyphens": {"sub": ADA.replace("-", "")},
    "sub with a space after it": {"sub": f"{ADA} "},
    "sub with a line end": {"sub": f"{ADA}\n"},
    "sub with a NUL": {"sub": f"{ADA}\0"},
    "sub of full-width digits": {"sub": ADA.replace("1", "\uff11")},
    "sub has no ASCII": {"sub": "ä" * 36},
    "aud is a number": {"aud": 1},
    "aud is an object": {"aud": {"authenticated": 1}},
    "aud of lists": {"aud": [["authenticated"]]},
    "aud of several types": {"aud": ["authenticated", 1]},
    "aud is an empty list": {"aud": []},
    "aud is anon": {"aud": "anon"},
    "aud in capitals": {"aud": "Authenticated"},
    "iss is a list": {"iss": ["x"]},
    "iss is an object": {"iss": {}},
    "iss is another project's": {"iss": "https://evil.supabase.co/auth/v1"},
    "iss is empty": {"iss": ""},
    "role is a list": {"role": ["authenticated"]},
    "role anon": {"role": "anon"},
    "role service_role": {"role": "service_role"},
    "role supabase_admin": {"role": "supabase_admin"},
    "role in capitals": {"role": "AUTHENTICATED"},
    "role is empty": {"role": ""},
    "jti is a number": {"jti": 1},
}
"""Changes to the claims of a token with a valid signature."""

WHOLE_CLAIMS: dict[str, object] = {
    "claims are a list": [1],
    "claims are a number": 1,
    "claims are a string": "authenticated",
    "claims are null": b"null",
    "claims are empty": b"",
    "claims are no UTF-8": b'{"sub": "\xff"}',
    "claims are very deep": b"[" * 3000,
    "claims are compressed": base64.b64decode("q1ZKLC1RslJQSs0rUaoFAA=="),
}


def relative(issuer: Issuer, **changes: float) -> dict[str, Any]:
    """Return claims with times relative to now."""
    return issuer.claims(**{name: time.time() + seconds for name, seconds in changes.items()})


IN_LEEWAY = "expired within the leeway"
TIMES: dict[str, tuple[dict[str, float], str]] = {
    IN_LEEWAY: ({"exp": 2 - LEEWAY_SECONDS}, OK),
    "expired past the leeway": ({"exp": -1 - LEEWAY_SECONDS}, EXPIRED),
    "expired an hour ago": ({"exp": -3600}, EXPIRED),
    "expires in a century": ({"exp": 100 * 365 * 86_400}, OK),
    "expires after the year 9999": ({"exp": 1e12}, OK),
    "iat within the skew": ({"iat": SKEW_SECONDS - 5}, OK),
    "iat past the skew": ({"iat": SKEW_SECONDS + 20}, INVALID),
    "nbf in the past": ({"nbf": -60}, OK),
    "nbf within the skew": ({"nbf": SKEW_SECONDS - 5}, OK),
    "nbf past the skew": ({"nbf": SKEW_SECONDS + 20}, INVALID),
    "nbf in an hour": ({"nbf": 3600}, INVALID),
}

GOOD: dict[str, dict[str, Any]] = {
    "aud is a list": {"aud": ["authenticated"]},
    "aud is a longer list": {"aud": ["x", "authenticated"]},
    "is_anonymous is false": {"is_anonymous": False},
    "no iat": {"iat": None},
    "a role in user_metadata": {"user_metadata": {"role": "service_role"}},
    "app_metadata is a list": {"app_metadata": ["admin"]},
}


def embedded_jwk(issuer: Issuer) -> str:
    """Return a token of a foreign key that its header contains."""
    return FOREIGN.token(issuer.claims(), kid=FOREIGN.jwk["kid"], jwk=FOREIGN.jwk)


def other_signatures(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield signatures of other algorithms and forms."""
    yield "no signature", b""
    yield "a zero signature", bytes(64)
    yield "a long signature", ES.sign(text) + b"\0"
    yield "a DER signature", ES.private.sign(text, ec.ECDSA(hashes.SHA256()))
    yield "a signature with another hash", ES.private.sign(text, ec.ECDSA(hashes.SHA384()))
    yield "an RSA signature", RS.sign(text)
    yield "an Ed25519 signature", ED.sign(text)
    yield "a foreign signature", FOREIGN.sign(text)
    yield "an HMAC with the public key", with_secret(public_pem(ES))(text)


SIGNATURES = [name for name, _ in other_signatures(b"")]


def with_literals(literals: dict[str, str], issuer: Issuer) -> str:
    return ES.token(raw(issuer, **literals))


def with_times(times: dict[str, float], issuer: Issuer) -> str:
    return ES.token(relative(issuer, **times))


def of_text(text: str, _: Issuer) -> str:
    return text


def with_header(header: object, issuer: Issuer) -> str:
    return signed(header, issuer.claims(), ES.sign)


def with_claims(**changes: Any) -> Callable[[Issuer], str]:
    return lambda issuer: ES.token(issuer.claims(**changes))


def with_signature(name: str, issuer: Issuer) -> str:
    return signed(ES.header(), issuer.claims(), lambda text: dict(other_signatures(text))[name])


def pss(text: bytes) -> bytes:
    form = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return bytes(RS.private.sign(text, form, hashes.SHA256()))


def large_curve(text: bytes) -> bytes:
    return LARGE_CURVE.sign(text, ec.ECDSA(hashes.SHA384()))


def hs(header: dict[str, Any], secret: str | bytes = SECRET, **claims: Any) -> Callable[[Issuer], str]:
    """Make a token with an HMAC."""
    whole = {"alg": "HS256", "typ": "JWT", **header}
    return lambda issuer: signed(whole, issuer.claims(**claims), with_secret(secret))


def with_key(key: Key, **header: object) -> Callable[[Issuer], str]:
    return lambda issuer: key.token(issuer.claims(), **header)


UNUSABLE_KEYS = {
    "a key for encryption": with_key(ENCRYPTING),
    "a key that may only sign": with_key(SIGNING_ONLY),
    "a key for another algorithm": with_key(OTHER_ALGORITHM),
    "a key without an id": with_key(key_pair("ES256", "unnamed")),
    "a short RSA key": with_key(SHORT),
    "a foreign key": with_key(FOREIGN),
    "a foreign key with a known kid": with_key(FOREIGN, kid=ES.jwk["kid"]),
    "a foreign key in jwk": embedded_jwk,
    "a foreign key in jwk, with a known kid": with_key(FOREIGN, kid=ES.jwk["kid"], jwk=FOREIGN.jwk),
    "a foreign key in jku": with_key(FOREIGN, jku="https://evil.example/jwks.json"),
    "a foreign key in x5u": with_key(FOREIGN, x5u="https://evil.example/cert.pem"),
    "a foreign key in x5c": with_key(FOREIGN, x5c=[base64.b64encode(public_der(FOREIGN)).decode()]),
    "a foreign key by its thumbprint": with_key(FOREIGN, x5t="AAAA"),
}

CONFUSED = {
    "HS256 with the public key in PEM": hs({"kid": ES.jwk["kid"]}, public_pem(ES)),
    "HS256 with the public key in DER": hs({"kid": ES.jwk["kid"]}, public_der(ES)),
    "HS256 with the public RSA key in PEM": hs({"kid": RS.jwk["kid"]}, public_pem(RS)),
    "HS256 with the JWK as text": hs({"kid": ES.jwk["kid"]}, json.dumps(ES.jwk)),
    "HS256 with an empty secret": hs({}, b""),
    "HS256 with another secret": hs({}, "x" * 40),
    "HS256 with the name of the secret": hs({}, "SUPABASE_JWT_SECRET"),
    "HS512 with the secret": hs({"alg": "HS512"}),
    "ES256 with an HMAC of the secret": hs({"alg": "ES256", "kid": ES.jwk["kid"]}),
    "ES256 with the oct key": hs({"alg": "ES256", "kid": "octets"}),
    "none with the HMAC of the secret": hs({"alg": "none"}),
    "RS256 signed with an EC key": with_key(ES, alg="RS256", kid=RS.jwk["kid"]),
    "ES256 signed with an RSA key": with_key(RS, alg="ES256", kid=ES.jwk["kid"]),
    "PS256 with an RSA key": lambda issuer: signed(RS.header(alg="PS256"), issuer.claims(), pss),
    "RS256 with a PSS signature": lambda issuer: signed(RS.header(), issuer.claims(), pss),
    "RS384 with an RSA key": with_key(RS, alg="RS384"),
    "ES384 with a P-384 key": lambda issuer: signed({"alg": "ES384", "kid": "P-384"}, issuer.claims(), large_curve),
}

TEXTS: dict[str, str] = {
    "sb_publishable": "sb_publishable_" + "a" * 31,
    "sb_secret": "sb_secret_" + "a" * 31,
    "nonsense": "nonsense",
    "two parts": "e30.e30",
    "four parts": "e30.e30.e30.e30",
    "five parts, as a JWE": "e30.e30.e30.e30.e30",
    "dots": "..",
    "one dot": ".",
    "not base64": "!!!.???.***",
    "padding": "e30=.e30=.e30=",
    "very long": "x" * (MAX_TOKEN_CHARS + 1),
    "an agent secret": f"ag-{ADA}-{'0' * 64}",
    "a LiteLLM key": "sk-1234567890",
    "a GitHub token": "ghp_" + "a" * 36,
}

AUTHORIZATIONS: dict[str, Kind] = {
    "no value": Kind(lambda _: None, MISSING),
    "an empty value": Kind(lambda _: "", MISSING),
    "Basic": Kind(lambda _: "Basic YTpi", INVALID),
    "Bearer alone": Kind(lambda _: "Bearer", INVALID),
    "a token without a scheme": Kind(lambda issuer: ES.token(issuer.claims()), INVALID),
    "bearer in lower case": Kind(lambda issuer: f"bearer {ES.token(issuer.claims())}", OK),
    "two spaces": Kind(lambda issuer: f"Bearer  {ES.token(issuer.claims())}", OK),
    "two tokens": Kind(lambda issuer: f"Bearer {ES.token(issuer.claims())} {ES.token(issuer.claims())}", INVALID),
    "Token as a scheme": Kind(lambda issuer: f"Token {ES.token(issuer.claims())}", INVALID),
}


Named = tuple[str, Callable[[Issuer], str], str]
"""A name, how to make the token, and the reason of its refusal."""


def _good() -> Iterator[Named]:
    for key in (ES, RS, ED, SECOND):
        yield f"good, {key.jwk['kid']}", with_key(key), OK
    yield "good, HS256", hs({}), OK
    yield "good, HS256 with an unknown kid", hs({"kid": "abc"}), OK
    yield "good, HS256 with the kid of a key", hs({"kid": ES.jwk["kid"]}), OK
    yield "good, with a jku that is not read", with_key(ES, jku="https://evil.example/jwks.json"), OK
    for name, claims in GOOD.items():
        yield name, with_claims(**claims), OK


def _headers() -> Iterator[Named]:
    for name, changes in HEADERS.items():
        yield name, with_key(ES, **changes), INVALID
    for name, header in WHOLE_HEADERS.items():
        yield name, partial(with_header, header), INVALID
    for name in SIGNATURES:
        yield name, partial(with_signature, name), INVALID


def _claims() -> Iterator[Named]:
    for name, literals in LITERALS.items():
        yield name, partial(with_literals, literals), INVALID
    for name, claims in CLAIMS.items():
        yield name, with_claims(**claims), INVALID
        yield f"HS256, {name}", hs({}, **claims), INVALID
    for name, whole in WHOLE_CLAIMS.items():
        yield name, partial(of_text, ES.token(whole)), INVALID
    for name, (times, reason) in TIMES.items():
        yield name, partial(with_times, times), reason
    for value in (True, "true", 1, [False]):
        yield f"is_anonymous is {value!r}", with_claims(is_anonymous=value), ANONYMOUS


def _others() -> Iterator[Named]:
    for name, make in (UNUSABLE_KEYS | CONFUSED).items():
        yield name, make, INVALID
    for name, text in TEXTS.items():
        yield name, partial(of_text, text), INVALID
    yield "iss with a slash", lambda issuer: ES.token(issuer.claims(iss=f"{issuer.issuer}/")), INVALID
    yield "iss without its path", lambda issuer: ES.token(issuer.claims(iss=issuer.url)), INVALID
    yield "a changed claim", _changed, INVALID


def _changed(issuer: Issuer) -> str:
    """Return a token whose claims were changed after it was signed."""
    header, _, signature = ES.token(issuer.claims()).split(".")
    return f"{header}.{encoded(issuer.claims(app_metadata={'role': 'admin'})).decode()}.{signature}"


TOKENS: list[Named] = [*_good(), *_headers(), *_claims(), *_others()]
KINDS: dict[str, Kind] = AUTHORIZATIONS | {name: bearer(make, reason) for name, make, reason in TOKENS}
