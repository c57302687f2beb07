"""Checks secrets in settings for copy-and-paste mistakes. No error message contains a secret."""

from __future__ import annotations

import base64
import binascii
import re

PADDED = "has whitespace at its start or end. Remove the whitespace"
_INSTEAD = "Set the project's HS256 secret (the legacy JWT secret) instead"
_PEM_IN_BASE64 = base64.b64encode(b"-----BEGIN ")[:-2].decode()
_SSH = re.compile(r"(ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)\S+\s")
_JSON = re.compile(r"[{\[]\s*([{\"]|\Z)")
"""Matches the start of a JSON text. A random secret almost never matches."""

_JWT = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")


def pasted(text: str) -> str | None:
    """Return a description of whitespace or quotation marks around a secret, or ``None`` if there are none."""
    if text != text.strip():
        return PADDED
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        return "is in quotation marks. Remove the quotation marks"
    return None


def hs256_secret(text: str) -> str | None:
    """Return why a text cannot be an HS256 secret, or ``None`` for a valid secret."""
    bare = text.strip().strip("\"'`").lstrip()
    if (kind := _other_material(bare)) is not None:
        return f"is {kind}. {_INSTEAD}"
    import jwt  # noqa: PLC0415 - with cryptography, the import takes 50 ms
    from jwt.algorithms import HMACAlgorithm  # noqa: PLC0415

    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(text)
    except jwt.InvalidKeyError:
        return f"is an asymmetric key. {_INSTEAD}"
    return pasted(text)


def _other_material(text: str) -> str | None:
    if "-----BEGIN" in text or text.startswith(_PEM_IN_BASE64):
        return "a key or certificate in PEM form"
    if _SSH.match(text):
        return "an SSH public key"
    if _JSON.match(text):
        return "JSON, such as a JWK"
    if _JWT.fullmatch(text):
        return "a JWT, such as the project's anon or service_role key"
    if text.startswith(("sb_secret_", "sb_publishable_")):
        return "an API key of the project"
    return "a key or certificate in DER form" if _is_der(text) else None


def _is_der(text: str) -> bool:
    """Return whether a text is an ASN.1 SEQUENCE in base64, such as a key without its PEM lines."""
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(data) < 4 or data[0] != 0x30:
        return False
    size = data[1] & 0x7F if data[1] >= 0x80 else 0
    length = int.from_bytes(data[2 : 2 + size], "big") if size else data[1]
    first = data[2 + size : 3 + size]  # a key or certificate begins with an INTEGER or another SEQUENCE
    return length == len(data) - 2 - size and first in {b"\x02", b"\x30"}
