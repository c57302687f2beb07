from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli import main
from app.secret_checks import hs256_secret
from app.settings import Settings, SettingsError

DER = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvodVHEJjuNOOyO69wVP3sPg89tuo"
    "UZzmpIUEofwXT4ntd7bf61vjjH2WyQ0zTCkhxWouub0QQNKGsA/V5ybgLw=="
)
PEM = f"-----BEGIN PUBLIC KEY-----\n{DER[:64]}\n{DER[64:]}\n-----END PUBLIC KEY-----\n"
JWK = json.dumps({"kty": "EC", "crv": "P-256", "x": "vodVHEJjuNOOyO69wVP3sPg89tuoUZzmpIUEofwXT4k", "y": "7Xe23-tb44x"})

NO_HS256_SECRET = {
    "PEM": (PEM, "PEM"),
    "PEM with escaped line ends": (PEM.replace("\n", "\\n"), "PEM"),
    "PEM in quotes": (f'"{PEM}"', "PEM"),
    "the first line of a PEM": ("-----BEGIN RSA PRIVATE KEY-----", "PEM"),
    "certificate": (PEM.replace("PUBLIC KEY", "CERTIFICATE"), "PEM"),
    "private key": (PEM.replace("PUBLIC KEY", "EC PRIVATE KEY"), "PEM"),
    "PEM in base64": (base64.b64encode(PEM.encode()).decode(), "PEM"),
    "DER in base64": (DER, "DER"),
    "DER in lines": (f"{DER[:64]}\n{DER[64:]}", "DER"),
    "SSH": ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKZ4Fqk8yV0 ada@example", "SSH"),
    "SSH of ECDSA": ("ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY= ada", "SSH"),
    "JWK": (JWK, "JWK"),
    "JWKS": (json.dumps({"keys": [json.loads(JWK)]}), "JWK"),
    "the first line of a JWK": ("{", "JWK"),
    "symmetric JWK": (json.dumps({"kty": "oct", "alg": "HS256", "k": "c2VjcmV0" * 6}), "JWK"),
    "anon key": ("eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2VjcmV0c2VjcmV0c2VjcmV0", "JWT"),
    "API key": ("sb_secret_0123456789abcdef0123456789abcdef", "API key"),
}
PASTED = {
    "line end": ("0123456789abcdef" * 2 + "\n", "whitespace"),
    "space": (" " + "0123456789abcdef" * 2, "whitespace"),
    "quotes": ('"' + "0123456789abcdef" * 2 + '"', "quotation"),
    "single quotes": ("'" + "0123456789abcdef" * 2 + "'", "quotation"),
}


def problem(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.load(_env_file=None, **values)
    [line] = caught.value.problems
    return line


@pytest.mark.parametrize("kind", [*NO_HS256_SECRET, *PASTED])
def test_an_invalid_hs256_secret_is_named_and_not_printed(kind: str) -> None:
    value, told = {**NO_HS256_SECRET, **PASTED}[kind]
    line = problem(supabase_url="https://x.example", supabase_jwt_secret=value)
    assert line.startswith("SUPABASE_JWT_SECRET: ")
    assert told in line
    assert value.strip()[:8] not in line
    assert DER[:16] not in line


@pytest.mark.parametrize("name", ["agent_secret_master_key", "letta_proxy_key", "letta_api_key", "metrics_token"])
@pytest.mark.parametrize("kind", PASTED)
def test_whitespace_and_quotes_pasted_with_a_secret_are_refused(name: str, kind: str) -> None:
    value, _ = PASTED[kind]
    line = problem(**{name: value})
    assert line.startswith(f"{name.upper()}: ")
    assert value.strip() not in line


@given(st.binary(min_size=32, max_size=64))
def test_random_secrets_are_accepted_in_each_usual_encoding(secret: bytes) -> None:
    for text in (secret.hex(), base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()):
        assert hs256_secret(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "correct horse battery staple and more",
        *(f"{first}k3V&" + "x" * 32 for first in "{[\"'`"),
        *("x" * 32 + f"k3V&{last}" for last in "}]\"'`"),
        base64.b64encode(b"\x30\x3e" + bytes(range(62))).decode(),
    ],
)
def test_passphrases_are_accepted(text: str) -> None:
    assert hs256_secret(text) is None


def test_serve_does_not_start_with_a_public_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPABASE_URL", "https://x.example")
    monkeypatch.setenv("SUPABASE_JWT_SECRET", PEM)
    assert main(["serve"]) != 0
    printed = capsys.readouterr()
    assert "SUPABASE_JWT_SECRET: " in printed.out + printed.err
    assert DER[:16] not in printed.out + printed.err
