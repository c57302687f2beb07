from __future__ import annotations

import pytest

from clients.litellm.redaction import has_key, without_key

KEY = "sk-1234567890abcdef"


def test_a_key_is_removed_wherever_it_is() -> None:
    assert (
        without_key(f'{{"a": "{KEY}", "b": "Bearer {KEY}"}}'.encode(), KEY)
        == b'{"a": "(hidden)", "b": "Bearer (hidden)"}'
    )


def test_other_bytes_are_not_copied() -> None:
    raw = b'data: {"choices": []}\n\n'
    assert without_key(raw, KEY) is raw


def test_a_short_key_could_be_a_part_of_another_text() -> None:
    assert without_key(b"to be or not to be", "be") == b"to be or not to be"
    assert not has_key("to be or not to be", "be")


@pytest.mark.parametrize("raw", [KEY[:-1].encode(), KEY.upper().encode(), b"sk-", KEY.replace("-", "\\u002d").encode()])
def test_bytes_that_resemble_the_key_are_unchanged(raw: bytes) -> None:
    assert without_key(raw, KEY) is raw
