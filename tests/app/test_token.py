from __future__ import annotations

import base64

import pytest

from app.signin.token import Token, claimed_session


@pytest.mark.parametrize(
    ("payload", "session_id"),
    [
        (b'{"sub": "a", "session_id": "S1", "app_metadata": {"session_id": "S2"}}', "S1"),
        (b'{"session_id": "S1", "session_id": "S2"}', "S2"),  # as PyJWT reads it
        ('{"session_id": "Ж\\u0416"}'.encode(), "ЖЖ"),
        (b'{"sub": "a"}', ""),
        (b'{"session_id": 1}', ""),
        (b'{"session_id": null}', ""),
        (b'{"session_id": "\\ud800"}', ""),
        (b'["session_id"]', ""),
        (b'{"a":' * 1500, ""),
        (b'{"session_id": "S1"', ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_an_unverified_token_claims_a_session_or_none(payload: bytes, session_id: str) -> None:
    part = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
    assert claimed_session(Token(f"e30.{part}.AAAA")) == session_id


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.é.c", "...", "a.====.c"])
def test_a_text_that_is_no_token_claims_no_session(token: str) -> None:
    assert claimed_session(Token(token)) == ""
